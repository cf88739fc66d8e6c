package cluster

import (
	"os/exec"
	"runtime"
	"syscall"
)

// endingWithUs lets a process end when the test does, however that ends.
func endingWithUs(as *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: as, Pdeathsig: syscall.SIGQUIT, Setpgid: true}
}

// keep starts the server and waits for its end, on a thread that lives as long: the server ends with the thread.
func (*Cluster) keep(server *exec.Cmd, started chan<- error, ended chan<- struct{}) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(ended)
	err := server.Start()
	started <- err
	if err == nil {
		_ = server.Wait()
	}
}
