package openhim_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// process is a program that a test has started. It ends with the test, however that ends.
type process struct {
	name, file string
	stdin      io.Closer
	ended      chan struct{}
	// code is how it ended, once it has.
	code int
}

// leashed is the argument with which this test program starts another one on a leash.
const leashed = "leashed"

// start runs a program until stop, the end of the test or the end of the test program, even where that is killed.
func start(t *testing.T, name, folder string, args ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	output, err := os.CreateTemp(t.TempDir(), name+"-*.log")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = output.Close() }()
	command := exec.CommandContext(t.Context(), self, append([]string{leashed}, args...)...)
	command.Cancel = func() error { return nil } // the leash ends it
	command.Dir, command.Stdout, command.Stderr = folder, output, output
	stdin, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{name: name, file: output.Name(), stdin: stdin, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		p.code = exitCode(command.Wait())
	}()
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("what %s said last:\n%s", name, tail(p.output(), 40))
		}
	})
	return p
}

// stop lets the program go and waits until it has ended.
func (p *process) stop() {
	_ = p.stdin.Close()
	<-p.ended
}

// running says whether the program has not ended.
func (p *process) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// output is all that the program has written.
func (p *process) output() string {
	text, err := os.ReadFile(p.file)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// stopsWithin is how long a program may take to stop before it is killed.
const stopsWithin = 25 * time.Second

// leash runs a program until it ends or this program's standard input does. Then it is asked to stop, and killed when it
// does not. A pipe ends whenever the process at its other end does, so nothing is left behind by a test that is killed.
func leash(args []string) int {
	signal.Notify(make(chan os.Signal, 1), os.Interrupt) // Ctrl-C comes here too; the end of the input follows
	command := exec.Command(args[0], args[1:]...)
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	if err := command.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	loose := make(chan struct{})
	go func() {
		defer close(loose)
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	select {
	case err := <-ended:
		fmt.Fprintln(os.Stderr, "ended by itself:", err)
		return 1
	case <-loose:
	}
	_ = command.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-ended:
		return exitCode(err)
	case <-time.After(stopsWithin):
		fmt.Fprintf(os.Stderr, "did not stop within %s and is killed\n", stopsWithin)
		_ = command.Process.Kill()
		return exitCode(<-ended)
	}
}

func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	return 1
}

// tail is the end of a text.
func tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// await waits until something is so. The programs are real, and tell nobody when they have done what they do.
func await(t *testing.T, what string, limit time.Duration, isSo func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !isSo() {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not come about within %s", what, limit)
		}
		time.Sleep(pause)
	}
}

// pause is the time between two looks.
const pause = 100 * time.Millisecond

// build builds the program in a folder without cgo, as it is delivered.
func build(t *testing.T, folder string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), filepath.Base(folder))
	command := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", program, ".")
	command.Dir = folder
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", folder, err, output)
	}
	return program
}
