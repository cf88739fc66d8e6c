package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
)

// Backup writes a whole copy of the store in a data folder to a file that must not exist, and says how large it is. The
// store may be in use, by a service that sends too: the copy is the state of one instant. It is read once more before it
// gets its name, so that there is a backup or none. Nothing of the store is changed, nor brought up to date: this is what
// is done before an update. Errors are of type *Error where a person can do something about them.
func Backup(ctx context.Context, dir, target string) (size int64, err error) {
	doing := "copy the store of " + dir
	dir, err = filepath.Abs(dir)
	if err == nil {
		target, err = filepath.Abs(target)
	}
	if err != nil {
		return 0, err
	}
	l, path := newLedger(Config{Dir: dir}), filepath.Join(dir, fileName)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return 0, &Error{Kind: Unreachable, Doing: doing, What: "there is no store in this folder", Remedy: "check data_dir; the store is made by the first command that needs it"}
	}
	if _, err := os.Lstat(target); !errors.Is(err, fs.ErrNotExist) {
		return 0, occupied(target, err)
	}
	// A copy that is not whole yet has another name, and the rights of the store.
	part, err := os.CreateTemp(filepath.Dir(target), "."+filepath.Base(target)+".part-*")
	if err != nil {
		return 0, outside(target, err)
	}
	defer os.Remove(part.Name()) //nolint:errcheck // it has its name by then, or is not wanted
	defer part.Close()           //nolint:errcheck // what had to be written was synced
	if err := copyTo(ctx, path, part.Name()); err != nil {
		return 0, l.explain(doing, err)
	}
	if err := errors.Join(part.Sync(), part.Chmod(0o600)); err != nil {
		return 0, outside(target, err)
	}
	if err := checkCopy(ctx, part.Name()); err != nil {
		return 0, err
	}
	info, err := part.Stat()
	if err == nil {
		err = name(part.Name(), target)
	}
	if err != nil {
		return 0, outside(target, err)
	}
	return info.Size(), outside(target, syncFolder(filepath.Dir(target)))
}

// copyTo lets SQLite write what a reader of a store sees to an empty file.
func copyTo(ctx context.Context, store, file string) error {
	db, err := sql.Open("sqlite", plainAddress(store, "rw"))
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // nothing was changed
	_, err = db.ExecContext(ctx, `VACUUM INTO ?`, file)
	return err
}

func checkCopy(ctx context.Context, file string) error {
	db, err := sql.Open("sqlite", plainAddress(file, "ro"))
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // it was read only
	var found string
	if err := db.QueryRowContext(ctx, `PRAGMA quick_check(1)`).Scan(&found); err != nil {
		return fmt.Errorf("check the copy: %w", err)
	}
	if found != "ok" {
		return &Error{Kind: Damaged, Doing: "check the copy", What: "it is damaged (" + found + "), and perhaps the store is too", Remedy: "copy to another disk; if it stays, the store itself is damaged"}
	}
	return nil
}

// plainAddress is a file with none of the settings of the store.
func plainAddress(path, mode string) string {
	file := url.URL{Scheme: "file", Path: path, RawQuery: fmt.Sprintf("mode=%s&_pragma=busy_timeout(%d)", mode, busyTimeout.Milliseconds())}
	return file.String()
}

// name gives a file its name without taking it from another one.
func name(part, target string) error {
	err := os.Link(part, target)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	if _, err := os.Lstat(target); !errors.Is(err, fs.ErrNotExist) { // a file system without links
		return fs.ErrExist
	}
	return os.Rename(part, target)
}

func syncFolder(dir string) error {
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer folder.Close() //nolint:errcheck // it was opened to be synced
	return folder.Sync()
}

// occupied says that a backup would take the place of something.
func occupied(target string, err error) error {
	if err != nil {
		return outside(target, err)
	}
	return outside(target, fs.ErrExist)
}

// outside explains trouble with the place of a backup, which is no trouble of the store.
func outside(target string, err error) error {
	e := &Error{Kind: Unreachable, Doing: "write " + target, Remedy: "name a new file in a folder that the user of this command may write to", err: err}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrExist):
		e.What = "there is something of this name already, and a backup does not overwrite"
	case NoRoom(err):
		e.Kind, e.What, e.Remedy = Full, "no room is left for the copy", "make room there, or name another disk"
	default:
		e.What = err.Error()
	}
	return e
}
