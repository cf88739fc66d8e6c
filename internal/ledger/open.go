package ledger

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pressly/goose/v3"
	"github.com/riverqueue/river/rivermigrate"
)

//go:embed migrations/*.sql
var migrations embed.FS

// leaseVersion is the migration of what PostgreSQL alone needs.
const leaseVersion = 3

// Exists says whether there is a memory already, which a shared database counts as.
func Exists(config Config) bool {
	if config.Database != nil {
		return true
	}
	_, err := os.Stat(filepath.Join(config.Dir, fileName))
	return err == nil
}

// MakeDir makes a data folder where there is none. Its errors are those of Open.
func MakeDir(dir string) error {
	return newLedger(Config{Dir: dir}).explain("make the data folder", os.MkdirAll(dir, 0o700))
}

// migrate brings our tables and River's up to date, each step in a transaction of its own.
func (l *Ledger) migrate(ctx context.Context, dialect goose.Dialect, options ...goose.ProviderOption) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	options = append(options, goose.WithDisableGlobalRegistry(true), goose.WithSlog(quiet()))
	ours, err := goose.NewProvider(dialect, l.writer, files, options...)
	if err != nil {
		return err
	}
	have, want, err := ours.GetVersions(ctx)
	if err != nil {
		return err
	}
	if have > want {
		return l.newer(fmt.Sprintf("its tables have version %d, and this version of the mediator knows %d", have, want))
	}
	if have < want {
		if _, err := ours.Up(ctx); err != nil {
			return err
		}
	}
	return l.migrateJobs(ctx)
}

func (l *Ledger) migrateJobs(ctx context.Context) error {
	migrator, err := rivermigrate.New(l.store.jobs(), &rivermigrate.Config{Logger: quiet()})
	if err != nil {
		return err
	}
	known := migrator.AllVersions()
	want, have := known[len(known)-1].Version, 0
	begun, err := l.store.hasTable(ctx, "river_migration")
	if err != nil {
		return err
	}
	if begun {
		if err := l.writer.QueryRowContext(ctx, `SELECT coalesce(max(version), 0) FROM river_migration`).Scan(&have); err != nil {
			return err
		}
	}
	if have > want {
		return l.newer(fmt.Sprintf("its job tables have version %d, and this version of the mediator knows %d", have, want))
	}
	if have == want {
		return nil
	}
	_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	return err
}

func (l *Ledger) newer(why string) error {
	what := "file"
	if l.IsShared() {
		what = "database"
	}
	return &Error{
		Kind: Newer, Doing: "open " + l.store.place(), What: "a newer version of the mediator has worked with this " + what + ": " + why,
		Remedy: "start that version or a later one, or restore the backup that was made before the update",
	}
}
