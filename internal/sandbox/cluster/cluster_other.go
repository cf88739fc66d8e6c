//go:build !unix

package cluster

// Cluster is a PostgreSQL server. Here there is none.
type Cluster struct{ Config }

// Database says that there is none.
func (*Cluster) Database() (address string, err error) { return "", ErrMissing }

// SQL says that there is none.
func (*Cluster) SQL(string, string) error { return ErrMissing }

// Stop says that there is none.
func (*Cluster) Stop(string) error { return ErrMissing }

// Start says that there is none.
func (*Cluster) Start() error { return ErrMissing }

// Close does nothing.
func (*Cluster) Close() error { return nil }
