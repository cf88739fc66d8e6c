// Command store is a database for an OpenHIM core under test, where there is no MongoDB: FerretDB on SQLite, and before
// it a translator for what the core's old driver says.
//
// OpenHIM core 4.0.5 speaks the MongoDB of its time: queries in the legacy form OP_QUERY, and some operators that later
// databases have dropped. FerretDB v1 takes neither. It also does not make commands atomic that read before they write,
// on which the core's jobs rely; so one command is let through at a time.
package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"log"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	log.SetFlags(0)
	folder := flag.String("dir", "", "empty folder for the data")
	flag.Parse()
	if *folder == "" {
		log.Fatal("store: -dir is required")
	}
	log.Fatal("store: ", serve(*folder))
}

// serve works until something fails. It says where the core finds it.
func serve(folder string) error {
	socket := filepath.Join(folder, "socket")
	database, err := ferretdb.New(&ferretdb.Config{
		Listener:  ferretdb.ListenerConfig{Unix: socket},
		Logger:    slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
		Handler:   "sqlite",
		SQLiteURL: "file:" + folder + "/",
	})
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	log.Print("store: listening on ", listener.Addr())
	failed := make(chan error, 2)
	go func() { failed <- database.Run(context.Background()) }()
	go func() { failed <- accept(listener, &translator{socket: socket}) }()
	return <-failed
}

// accept serves each connection on its own.
func accept(listener net.Listener, t *translator) error {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer func() { _ = connection.Close() }()
			if err := t.converse(connection); err != nil && !errors.Is(err, io.EOF) {
				log.Print("store: ", err)
			}
		}()
	}
}
