// Package sandbox stands in for the neighbours of the mediator, a CHT, a DHIS2 and an OpenHIM, over real HTTP and with
// state.
// The demo runs on it, and so do the tests.
//
// It is written from what real servers were recorded to answer, and a test replays those recordings against it. It
// decodes and encodes with types of its own and imports nothing of the mediator, so that a field which the mediator
// misspells is misspelled on one side only, and shows.
package sandbox

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"
)

// Server is a stand-in that listens.
type Server struct {
	// URL is the server's address, without a slash at its end.
	URL string

	server *http.Server
	done   chan struct{}
}

// Listen serves handler on 127.0.0.1, at a port that the system chooses. The caller closes the server.
func Listen(handler http.Handler) (*Server, error) { return ListenAt("127.0.0.1:0", handler) }

// ListenAt serves handler at an address such as ":8081", which is that port on every address of the machine. The caller
// closes the server.
func ListenAt(address string, handler http.Handler) (*Server, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	s := &Server{
		URL:    "http://" + listener.Addr().String(),
		server: &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second},
		done:   make(chan struct{}),
	}
	go func() {
		defer close(s.done)
		if err := s.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			panic("sandbox: " + err.Error())
		}
	}()
	return s, nil
}

// Close ends the listener and every connection, and waits until no request is served any more.
func (s *Server) Close() {
	_ = s.server.Close()
	<-s.done
	_ = s.server.Shutdown(context.Background())
}
