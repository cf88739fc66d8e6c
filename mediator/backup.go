package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/orchestration"
)

type backupCommand struct {
	settingsFlags

	Target string `arg:"" help:"The file to make, which must not exist; or a folder, in which a file is named after the time."`
	JSON   bool   `name:"json" help:"Print for machines."`
}

// backedUp is a backup that was made.
type backedUp struct {
	File  string `json:"file"`
	Bytes int64  `json:"bytes"`
}

// Run copies the store, whether the service runs or not.
func (c backupCommand) Run(a *app) error {
	settings, err := c.load(a)
	if err != nil {
		return err
	}
	if settings.Database.IsSet() {
		return &orchestration.UsageError{What: "the store is a PostgreSQL database, and not a file", Remedy: "back it up as any other: pg_dump writes a whole copy while the service runs"}
	}
	now := time.Now
	if a.now != nil {
		now = a.now
	}
	made := backedUp{File: c.Target}
	if info, err := os.Stat(c.Target); err == nil && info.IsDir() {
		made.File = filepath.Join(c.Target, "mediator-"+now().UTC().Format("20060102-150405")+".db")
	}
	if made.Bytes, err = ledger.Backup(a.ctx, settings.DataDir, made.File); err != nil {
		return err
	}
	if c.JSON {
		return a.encode(made)
	}
	fmt.Fprintf(a.stdout, "The store is copied to %s (%d bytes), and the copy was read back whole.\n", made.File, made.Bytes)
	return nil
}
