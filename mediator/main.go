// The mediator carries aggregates from the Community Health Toolkit (CHT) to DHIS2. Each file here is a command; app.go
// joins the packages for all of them.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/cht-dhis2/mediator/config"
	"github.com/cht-dhis2/mediator/orchestration"
)

// memoryLimit is the memory from which on garbage is collected harder, in bytes: a month of any size runs in some tens of
// megabytes. Below it garbage may grow to twice what is in use, which is little. Where target documents are read, hundreds of
// megabytes become garbage of which little is in use, and both are lower: that costs a few percent of the time, and keeps the whole
// below 64 MiB. GOMEMLIMIT and GOGC set others.
const (
	memoryLimit          = 48 << 20
	garbage              = 200
	documentsMemoryLimit = 36 << 20
	documentsGarbage     = 60
)

func main() {
	limitMemory(memoryLimit, garbage)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal ends the work in good order; with stop the next one ends the process.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, &app{stdout: os.Stdout, stderr: os.Stderr, environ: os.Environ()}, os.Args[1:]))
}

// limitMemory tells the collector of garbage when to work, unless the environment does.
func limitMemory(limit int64, percent int) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(limit)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
	}
}

type commands struct {
	Demo      demoCommand      `cmd:"" help:"Watch a month of CHT totals arrive in two DHIS2 servers, all of it stand-ins in this process."`
	Serve     serveCommand     `cmd:"" help:"Run the service: submit by schedule and on request, and tell OpenHIM."`
	Preview   previewCommand   `cmd:"" help:"Show what would be sent, and what stays behind. Sends nothing."`
	Submit    submitCommand    `cmd:"" help:"Send a period of a data set to DHIS2."`
	Export    exportCommand    `cmd:"" help:"Write the checked data value set to a file, for an upload by hand."`
	Status    statusCommand    `cmd:"" help:"Show what ran, what is next, and what waits and why. Asks no server."`
	Coverage  coverageCommand  `cmd:"" help:"Show how many of the expected workers have synced, by org unit, and who has not. Sends nothing."`
	Retry     retryCommand     `cmd:"" help:"Let what failed of a submission go again."`
	Cancel    cancelCommand    `cmd:"" help:"End a submission that is under way, after the request that is on its way."`
	Approve   approveCommand   `cmd:"" help:"Let a held submission go."`
	Reject    rejectCommand    `cmd:"" help:"End a held submission; nothing of it is sent."`
	Compare   compareCommand   `cmd:"" help:"Show where the CHT and DHIS2 agree, cell by cell. Sends nothing."`
	Reconcile reconcileCommand `cmd:"" help:"Show where DHIS2 holds something else than it accepted, or mend it."`
	Ledger    ledgerCommands   `cmd:"" help:"About what DHIS2 accepted."`
	Backup    backupCommand    `cmd:"" help:"Copy the store to a file. The service may run."`
	Doctor    doctorCommand    `cmd:"" help:"Look at every connection, account and data set, and say what to do. Changes nothing."`
	Metadata  metadataCommand  `cmd:"" help:"Show data sets as DHIS2 has them: data elements, org units, what is open and writable. Changes nothing."`
	Mapping   mappingCommands  `cmd:"" help:"About which target of the CHT feeds which cell of a data set's form."`
	Migrate   migrateCommand   `cmd:"" help:"Bring the tables of the store up to date, with an account that may. The other commands do so by themselves where they may."`
	Config    struct {
		Check configCheckCommand `cmd:"" help:"Check the configuration, and show every setting and where it comes from."`
	} `cmd:"" help:"About the configuration."`
	Version versionCommand `cmd:"" help:"Print the version."`
}

// run runs the command that the arguments name, and gives the exit code.
func run(ctx context.Context, a *app, args []string) int {
	a.ctx = ctx
	var c commands
	exited := -1
	parser, err := kong.New(&c,
		kong.Name("mediator"),
		kong.Description("Carries monthly totals from the Community Health Toolkit to DHIS2.\n\nExit codes: 0 all accepted, 1 fault of the mediator, 2 usage or configuration, 3 some values were refused or stayed behind, 4 nothing accepted, 5 CHT unavailable, 6 DHIS2 unavailable or an outcome unknown, 7 credentials refused, 130 stopped."),
		kong.Writers(a.stdout, a.stderr),
		kong.Exit(func(code int) { exited = code }),
		kong.UsageOnError(),
	)
	if err != nil {
		fmt.Fprintln(a.stderr, "mediator:", err)
		return exitFault
	}
	parsed, err := parser.Parse(args)
	if exited >= 0 { // help was asked for
		return exited
	}
	if err != nil {
		fmt.Fprintln(a.stderr, "mediator:", err)
		fmt.Fprintln(a.stderr, "mediator --help lists the commands, mediator COMMAND --help the options of one")
		return exitUsage
	}
	return a.ended(parsed.Run(a))
}

// The exit codes.
const (
	exitFault   = 1
	exitUsage   = 2
	exitStopped = 130
)

// reasonError ends a command with the exit code of a reason. What happened has been printed already.
type reasonError struct{ reason orchestration.Reason }

func (e *reasonError) Error() string { return string(e.reason) }

// exitCode gives the exit code of a reason.
func exitCode(r orchestration.Reason) int {
	switch r {
	case "":
		return 0
	case orchestration.Configuration:
		return exitUsage
	case orchestration.LeftBehind:
		return 3
	case orchestration.NothingAccepted:
		return 4
	case orchestration.CHTUnavailable:
		return 5
	case orchestration.DHIS2Unavailable:
		return 6
	case orchestration.Credentials:
		return 7
	case orchestration.Stopped:
		return exitStopped
	default:
		return exitFault
	}
}

// ended prints what went wrong, with what to do about it, and gives the exit code.
func (a *app) ended(err error) int {
	var reason *reasonError
	if errors.As(err, &reason) {
		return exitCode(reason.reason)
	}
	if err == nil {
		return 0
	}
	fmt.Fprintln(a.stderr, "mediator:", strings.ReplaceAll(err.Error(), "\n", "\nmediator: "))
	var hint interface{ Hint() string }
	if errors.As(err, &hint) && hint.Hint() != "" {
		fmt.Fprintln(a.stderr, "  what to do:", hint.Hint())
	}
	var usage *orchestration.UsageError
	var settings *config.Error
	switch {
	case errors.As(err, &usage), errors.As(err, &settings):
		return exitUsage
	default:
		return exitCode(orchestration.ReasonOf(err))
	}
}
