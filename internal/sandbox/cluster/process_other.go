//go:build unix && !linux

package cluster

import (
	"os/exec"
	"syscall"
)

func endingWithUs(as *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: as, Setpgid: true}
}

// keep starts the server and waits for its end.
func (*Cluster) keep(server *exec.Cmd, started chan<- error, ended chan<- struct{}) {
	defer close(ended)
	err := server.Start()
	started <- err
	if err == nil {
		_ = server.Wait()
	}
}
