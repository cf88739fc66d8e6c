package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// service is what the idle service costs.
type service struct {
	start  time.Duration
	memory int64
}

const (
	serveTries = 400
	serveEvery = 5 * time.Millisecond
	// idleFor is how long the service is left alone before its memory is read.
	idleFor = 10 * time.Second
)

// startService measures how long the service takes from its start to its first good answer on a store that is there, and
// how much memory it has when nothing happens.
func startService(binary, folder, url string) (s service, err error) {
	err = serving(binary, folder, url, func(_ string, pid int, started time.Duration) (err error) {
		s.start = started
		time.Sleep(idleFor)
		s.memory, err = resident(pid)
		return err
	})
	return s, err
}

// serving runs the service as long as f works with it. It tells f its address, its process, and how long it took to its first
// good answer.
func serving(binary, folder, url string, f func(address string, pid int, started time.Duration) error) (err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	address := listener.Addr().String()
	_ = listener.Close()
	file := filepath.Join(folder, "config.yaml")
	text := fmt.Sprintf(config, url) + "listen: " + address + "\nopen: true\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	c := exec.Command(binary, "serve", "--config", file)
	var said bytes.Buffer
	c.Stdout, c.Stderr = &said, &said
	started := time.Now()
	if err := c.Start(); err != nil {
		return err
	}
	defer func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		err = errors.Join(err, c.Wait())
	}()
	for range serveTries {
		response, err := http.Get("http://" + address + "/healthz")
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return f(address, c.Process.Pid, time.Since(started))
			}
		}
		time.Sleep(serveEvery)
	}
	return fmt.Errorf("the service did not answer: %s", said.String())
}

// resident is how much memory a process has at present.
func resident(pid int) (int64, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(content) {
		var kilobytes int64
		if _, err := fmt.Sscanf(string(line), "VmRSS: %d kB", &kilobytes); err == nil {
			return kilobytes * 1024, nil
		}
	}
	return 0, errors.New("the system does not tell how much memory a process has")
}

// folderSize is how many bytes the files in a folder have.
func folderSize(folder string) (bytes int64, err error) {
	err = filepath.Walk(folder, func(_ string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			bytes += info.Size()
		}
		return err
	})
	return bytes, err
}
