//go:build unix

package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cht-dhis2/mediator/internal/sandbox"
)

// process is the program in a process of its own.
type process struct {
	*exec.Cmd

	t     *testing.T
	said  *lines
	ended chan struct{}
	// door is the address of its door, where it is a service.
	door string
}

// start starts the program on the house's configuration. It is killed at the end of the test at the latest.
func (h *house) start(command string, args ...string) *process {
	h.t.Helper()
	return h.begin(exec.Command("mediator", append([]string{command, "--config", filepath.Join(h.folder, "config.yaml")}, args...)...))
}

// begin starts a command.
func (h *house) begin(command *exec.Cmd) *process {
	h.t.Helper()
	p := &process{Cmd: command, t: h.t, said: &lines{}, ended: make(chan struct{})}
	command.Stdout, command.Stderr = p.said, p.said
	command.Env = append(append(os.Environ(), "GOGC=100"), command.Env...) // beside the race detector, which takes several times the memory
	if err := command.Start(); err != nil {
		h.t.Fatal(err)
	}
	go func() {
		_ = command.Wait()
		close(p.ended)
	}()
	h.t.Cleanup(func() {
		_ = command.Process.Kill()
		<-p.ended
	})
	return p
}

// startService starts the service in a process of its own, at a port of its own, and waits until it listens.
func (h *house) startService(args ...string) *process {
	h.t.Helper()
	p := h.start("serve", append([]string{"--set", fmt.Sprintf("listen=127.0.0.1:%d", freePort(h.t))}, args...)...)
	p.says("it listens", "msg=listening")
	p.door = "http://" + listening.FindStringSubmatch(p.said.String())[1]
	return p
}

// says waits until the process has said something.
func (p *process) says(what, text string) {
	p.t.Helper()
	eventually(p.t, what, func() bool {
		select {
		case <-p.ended:
			if !strings.Contains(p.said.String(), text) {
				p.t.Fatalf("it has ended before: %s\n%s", what, p.said)
			}
		default:
		}
		return strings.Contains(p.said.String(), text)
	})
}

// signal sends a signal.
func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// exit waits for the end, and gives the exit code; -1 is the end by a signal.
func (p *process) exit() int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(40 * time.Second):
		p.t.Fatalf("it does not end:\n%s", p.said)
	}
	return p.ProcessState.ExitCode()
}

// edit changes the configuration.
func (h *house) edit(old, text string) {
	h.t.Helper()
	file := filepath.Join(h.folder, "config.yaml")
	before, err := os.ReadFile(file)
	if err != nil {
		h.t.Fatal(err)
	}
	after := strings.ReplaceAll(string(before), old, text)
	if after == string(before) {
		h.t.Fatalf("the configuration has no %q", old)
	}
	if err := os.WriteFile(file, []byte(after), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// ask asks a service as its caller.
func (h *house) ask(method, door, path string, body any) (int, map[string]any) {
	h.t.Helper()
	return h.call(method, door+path, "openhim", doorPassword, body)
}

// submit triggers a submission at a service, and gives its id.
func (h *house) submit(door string) (id string) {
	h.t.Helper()
	eventually(h.t, "a trigger is taken", func() bool {
		status, answer := h.ask(http.MethodPost, door, "/cht-dhis2/submissions", map[string]any{"period": h.period, "full": true})
		if status != http.StatusAccepted && status != http.StatusTooManyRequests { // on a machine that has too much to do
			h.t.Fatalf("the trigger is answered %d %v", status, answer)
		}
		id = fmt.Sprint(answer["id"])
		return status == http.StatusAccepted
	})
	return id
}

// accepted waits until a submission has ended well.
func (h *house) accepted(door, id string) {
	h.t.Helper()
	eventually(h.t, "submission "+id+" ends", func() bool {
		_, answer := h.ask(http.MethodGet, door, "/cht-dhis2/submissions/"+id, nil)
		return answer["state"] == "accepted" || answer["state"] == "unchanged"
	})
}

// role is that of a service.
func (h *house) role(door string) any {
	h.t.Helper()
	_, answer := h.call(http.MethodGet, door+"/readyz", "", "", nil)
	return answer["role"]
}

// check finds one of the checks of /readyz.
func (h *house) check(door, name string) map[string]any {
	h.t.Helper()
	_, answer := h.call(http.MethodGet, door+"/readyz", "", "", nil)
	checks, _ := answer["checks"].([]any)
	for _, one := range checks {
		if check, _ := one.(map[string]any); check["name"] == name {
			return check
		}
	}
	return nil
}

// attempts counts the requests that a submission's report knows of.
func attempts(report map[string]any) (count int) {
	chunks, _ := report["chunks"].([]any)
	for _, one := range chunks {
		chunk, _ := one.(map[string]any)
		n, _ := chunk["attempts"].(float64)
		count += int(n)
	}
	return count
}

// right makes sure that DHIS2 holds the country's right answer.
func (h *house) right() {
	h.t.Helper()
	held := map[string]string{}
	for _, v := range h.dhis2.Values() {
		held[v.OrgUnit+" "+v.DataElement] = v.Value
	}
	for _, v := range h.country.Right[h.set] {
		if got := held[v.OrgUnit+" "+v.DataElement]; got != v.Value && v.Value != "0" {
			h.t.Errorf("DHIS2 holds %q for %s %s, want %q", got, v.OrgUnit, v.DataElement, v.Value)
		}
	}
}

func TestASecondServiceOnTheDataFolderStandsByAndTakesOver(t *testing.T) {
	for _, test := range []struct {
		name string
		end  os.Signal
	}{{"when the first one is stopped", syscall.SIGTERM}, {"when the first one is killed", syscall.SIGKILL}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, "8.5.0", ", chunk_values: 6", "")
			first := h.startService()
			first.says("it works", "the service works")
			second := h.startService()
			second.says("it says who has the role", fmt.Sprintf("process %d", first.Process.Pid))
			if got := h.role(first.door); got != "working" {
				t.Errorf("the first one is %v", got)
			}
			if got := h.role(second.door); got != "standing_by" {
				t.Errorf("the second one is %v", got)
			}
			h.accepted(second.door, h.submit(second.door)) // what the second one takes is worked by the first one
			if got := h.role(second.door); got != "standing_by" {
				t.Errorf("the second one is %v", got)
			}

			// What the console says reaches the second one too, whatever becomes of OpenHIM.
			h.registered()
			h.configure(map[string]any{"id": h.set, "reread_days": 40})
			eventually(t, "the second one knows what the console says", func() bool { return h.scheduled(second.door)["reread_days"] == 40.0 })
			h.him.Fail(sandbox.Fault{Kind: sandbox.ResetBefore})

			// The first one ends with a request on its way, and the second one goes on.
			before := len(h.dhis2.Imports())
			h.dhis2.Fail(sandbox.Fault{Kind: sandbox.Latency, Delay: 300 * time.Millisecond, Method: http.MethodPost})
			id := h.submit(second.door)
			eventually(t, "a request is on its way", func() bool { return len(h.dhis2.Imports()) > before })
			first.signal(test.end)
			if got, want := first.exit(), map[os.Signal]int{syscall.SIGTERM: 0, syscall.SIGKILL: -1}[test.end]; got != want {
				t.Errorf("the first one ends with %d, want %d:\n%s", got, want, first.said)
			}
			eventually(t, "the second one takes over", func() bool { return h.role(second.door) == "working" })
			h.accepted(second.door, id)
			h.right()
			second.signal(syscall.SIGTERM)
			if got := second.exit(); got != 0 {
				t.Errorf("the second one ends with %d:\n%s", got, second.said)
			}
		})
	}
}
