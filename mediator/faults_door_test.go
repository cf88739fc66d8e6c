//go:build unix

package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestATriggerWithGarbageIsRefusedWithWords(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "8.5.0", "", "")
	h.serve()
	h.registered()
	for _, test := range []struct {
		name, body string
		status     int
		says       string
	}{
		{"nothing", "", 400, "the body is empty"},
		{"no JSON", "period=202601", 400, "no JSON"},
		{"half of it", `{"period": "20`, 400, "field \"period\" has no JSON value"},
		{"a list", `[]`, 400, "no JSON object"},
		{"bytes", "\x00\xff\xfe", 400, "not in UTF-8"},
		{"an unknown field", `{"perriod": "202601"}`, 400, "did you mean period?"},
		{"a field twice", `{"period": "202601", "period": "202602"}`, 400, "is there twice"},
		{"a number", `{"period": 202601}`, 400, "must be text"},
		{"no month", `{"period": "202613"}`, 400, `"202613"`},
		{"an endless range", `{"period": "190001..220012"}`, 400, "more than 120 periods"},
		{"an unknown data set", `{"data_set": "DsOther0001"}`, 400, "unknown data set"},
		{"a path for an org unit", `{"org_units": ["../../etc/passwd"]}`, 400, "is no id of an org unit"},
		{"too much", `{"period": "` + strings.Repeat("2", 1<<20) + `"}`, 413, "larger than"},
		{"too deep", strings.Repeat(`{"period":`, 100_000), 400, "field"},
	} {
		for way, address := range map[string]string{"at the door": h.door, "through OpenHIM": h.router} {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address+"/cht-dhis2/submissions", strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Content-Type", "application/json")
			request.SetBasicAuth("openhim", doorPassword)
			if address == h.router {
				request.SetBasicAuth("chis", "client-Password-1")
			}
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Errorf("%s %s: %v", test.name, way, err)
				continue
			}
			answer, _ := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if response.StatusCode != test.status || !strings.Contains(strings.ReplaceAll(string(answer), `\"`, `"`), test.says) || !bytes.Contains(answer, []byte(`"remedy"`)) {
				t.Errorf("%s %s: got %d %.300s", test.name, way, response.StatusCode, answer)
			}
		}
	}
	for _, transaction := range h.him.Transactions() {
		if transaction["status"] != "Failed" && transaction["status"] != "Completed" {
			t.Errorf("a transaction stays %v", transaction["status"])
		}
	}
	if code, said := h.run("status"); code != 0 || !strings.Contains(said, "none yet") {
		t.Errorf("something was begun:\n%s", said)
	}
}

func TestABurstOfTriggersIsTakenAsFarAsThereIsRoomAndWorked(t *testing.T) {
	t.Parallel()
	const burst, clients = 10_000, 50
	h := newHouse(t, "8.5.0", "", "queue_limit: 5\n")
	service := h.startService()
	transport := &http.Transport{MaxIdleConnsPerHost: clients, MaxConnsPerHost: clients}
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport}
	body := fmt.Sprintf(`{"data_set": %q, "period": %q, "dry_run": true}`, h.set, h.period) // each of which is one of its own
	var taken, later atomic.Int64
	var all, watch sync.WaitGroup
	for range clients {
		all.Go(func() {
			for range burst / clients {
				request, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, service.door+"/cht-dhis2/submissions", strings.NewReader(body))
				request.SetBasicAuth("openhim", doorPassword)
				request.Header.Set("Content-Type", "application/json")
				response, err := client.Do(request)
				if err != nil {
					t.Error(err)
					return
				}
				answer, _ := io.ReadAll(response.Body)
				_ = response.Body.Close()
				switch {
				case response.StatusCode == http.StatusAccepted:
					taken.Add(1)
				case response.StatusCode == http.StatusTooManyRequests && response.Header.Get("Retry-After") != "" && bytes.Contains(answer, []byte(`"remedy"`)):
					later.Add(1)
				default:
					t.Errorf("got %d %s", response.StatusCode, answer)
				}
			}
		})
	}
	done := make(chan struct{})
	var asked int
	var longest time.Duration
	watch.Go(func() {
		for {
			began := time.Now()
			if status, answer := h.call(http.MethodGet, service.door+"/healthz", "", "", nil); status != http.StatusOK {
				t.Errorf("health: %d %v", status, answer)
			}
			asked, longest = asked+1, max(longest, time.Since(began))
			select {
			case <-done:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	all.Wait()
	close(done)
	watch.Wait()
	if taken.Load() < 5 || later.Load() == 0 || taken.Load()+later.Load() != burst {
		t.Errorf("%d were taken, %d put off", taken.Load(), later.Load())
	}
	if longest > 5*time.Second {
		t.Errorf("/healthz took %s", longest)
	}
	// With the race detector, as the tests have it, it takes some 220 MiB, without about a third of that.
	if most := peak(t, service); most > 320<<20 {
		t.Errorf("it took %d MiB", most>>20)
	}
	ended := map[string]int64{}
	eventually(t, "all that was taken is worked", func() bool {
		clear(ended)
		for after := ""; ; {
			_, answer := h.ask(http.MethodGet, service.door, "/cht-dhis2/submissions?limit=1000"+after, nil)
			list, _ := answer["submissions"].([]any)
			for _, one := range list {
				submission, _ := one.(map[string]any)
				ended[fmt.Sprint(submission["state"])]++
			}
			next, more := answer["next"].(string)
			if !more || next == "" {
				break
			}
			after = "&after=" + next
		}
		return ended["accepted"] == taken.Load()
	})
	t.Logf("%d were taken, %d put off; %d times health, the longest in %s; %d MiB at most; %v", taken.Load(), later.Load(), asked, longest, peak(t, service)>>20, ended)
	if len(ended) != 1 {
		t.Errorf("there are %v", ended)
	}
}

// peak is the largest memory that a process has had resident, where the system tells; 0 elsewhere.
func peak(t *testing.T, p *process) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "VmHWM:" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	return 0
}

func TestOnlyCallersComeInWhateverHappensToTheirSecrets(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "8.5.0", "", "")
	h.edit("password: "+doorPassword, "password_file: caller")
	h.edit("callers: [", "callers: [{name: dashboard, token_file: token}, {name: openhim2, username: openhim, password_file: caller2}, ")
	h.write("caller", "first-Password-1")
	h.write("caller2", "second-Password-2")
	h.write("token", "first-token")
	h.serve()
	try := func(authorization string) int {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.door+"/cht-dhis2/submissions", nil)
		if err != nil {
			t.Fatal(err)
		}
		if authorization != "" {
			request.Header.Set("Authorization", authorization)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode == http.StatusUnauthorized && len(response.Header.Values("WWW-Authenticate")) != 2 {
			t.Errorf("%v", response.Header)
		}
		return response.StatusCode
	}
	basic := func(username, password string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(username+":"+password))
	}
	for authorization, want := range map[string]int{
		"": 401, "Basic": 401, "Basic !!!": 401, "Bearer": 401, "Bearer ": 401, "Digest x": 401, basic("", ""): 401, basic("openhim", ""): 401, basic("openhim", "wrong"): 401,
		basic("other", "first-Password-1"): 401, "Bearer first-Password-1": 401, basic("dashboard", "first-token"): 401,
		basic("openhim", "first-Password-1"): 200, basic("openhim", "second-Password-2"): 200, "Bearer first-token": 200,
	} {
		if got := try(authorization); got != want {
			t.Errorf("%q is answered %d, want %d", authorization, got, want)
		}
	}
	// A secret is changed by changing its file. One that is gone lets nobody in.
	h.write("caller", "third-Password-3")
	h.write("token", "other-token")
	for authorization, want := range map[string]int{
		basic("openhim", "first-Password-1"): 401, basic("openhim", "second-Password-2"): 200, basic("openhim", "third-Password-3"): 200, "Bearer first-token": 401, "Bearer other-token": 200,
	} {
		eventually(t, fmt.Sprintf("%q is answered %d", authorization, want), func() bool { return try(authorization) == want })
	}
	if err := os.Remove(h.folder + "/token"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a secret that is gone lets nobody in", func() bool { return try("Bearer other-token") == 401 && try("Bearer ") == 401 })
	for _, secret := range []string{"first-Password-1", "second-Password-2", "third-Password-3", "first-token", "other-token"} {
		if strings.Contains(h.said.String(), secret) {
			t.Errorf("the log has the secret %s:\n%s", secret, h.said)
		}
	}
}

func TestTheDoorIsClosedWithoutCallersAndOpenOnlyWithAWarning(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, callers string
		status        int
		warns         string
	}{
		{"without callers", "", http.StatusForbidden, "the door stays closed"},
		{"open", "open: true", http.StatusOK, "the door is open"},
		{"open and with callers", "open: true\ncallers: [{name: openhim, username: openhim, password: other}]", http.StatusOK, "the door is open"},
	} {
		h := newHouse(t, "8.5.0", "", "")
		h.edit(fmt.Sprintf("callers: [{name: openhim, username: openhim, password: %s}]", doorPassword), test.callers)
		for range 2 { // at every start
			h.serve()
			if got, answer := h.call(http.MethodGet, h.door+"/cht-dhis2/submissions", "openhim", doorPassword, nil); got != test.status {
				t.Errorf("%s: the door answers %d %v", test.name, got, answer)
			}
			for _, path := range []string{"/", "/cht-dhis2/", "/healthz", "/readyz"} {
				if got, answer := h.call(http.MethodGet, h.door+path, "", "", nil); got != http.StatusOK {
					t.Errorf("%s: %s answers %d %v", test.name, path, got, answer)
				}
			}
			if n := strings.Count(h.said.String(), test.warns); n != 1 {
				t.Errorf("%s: the log warns %d times:\n%s", test.name, n, h.said)
			}
			h.stop()
		}
	}
}

// TestSlowAndIdleClientsStarveNobody has the real time-outs run, all at the same time.
func TestSlowAndIdleClientsStarveNobody(t *testing.T) {
	t.Parallel()
	const header, body = 10 * time.Second, 20 * time.Second
	h := newHouse(t, "8.5.0", "", "")
	h.serve()
	authorization := "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("openhim:"+doorPassword)) + "\r\n"
	head := func(authorization string) string {
		return "POST /cht-dhis2/submissions HTTP/1.1\r\nHost: x\r\n" + authorization + "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
	}
	tests := []struct {
		name, begins, drip string
		most               time.Duration
		says               string
		count              int
	}{
		{"idle", "", "", header, "", 500},
		{"a header without end", "GET / HTTP/1.1\r\n", "X-A: b\r\n", header, "", 100},
		{"a body without end", head(authorization), " ", body, "408", 20},
		{"a body without a credential", head(""), " ", body, "401", 100},
	}
	began := time.Now()
	var all sync.WaitGroup
	for _, test := range tests {
		for range test.count {
			connection, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(h.door, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = connection.Close() })
			if _, err := io.WriteString(connection, test.begins); err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
			all.Go(func() { drip(connection, test.drip) })
			all.Go(func() {
				_ = connection.SetReadDeadline(began.Add(test.most + 8*time.Second))
				said, err := io.ReadAll(bufio.NewReader(connection)) // until the server has had enough
				if os.IsTimeout(err) || !strings.Contains(string(said), test.says) {
					t.Errorf("%s: after %s it said %q, %v", test.name, time.Since(began), said, err)
				}
				_ = connection.Close()
			})
		}
	}
	// Others are answered meanwhile.
	var took []time.Duration
	for range 20 {
		before := time.Now()
		if status, answer := h.call(http.MethodGet, h.door+"/healthz", "", "", nil); status != http.StatusOK {
			t.Errorf("health: %d %v", status, answer)
		}
		if status, answer := h.ask(http.MethodGet, h.door, "/cht-dhis2/submissions", nil); status != http.StatusOK {
			t.Errorf("a caller is answered %d %v", status, answer)
		}
		took = append(took, time.Since(before))
	}
	h.accepted(h.door, h.submit(h.door))
	if longest := slices.Max(took); longest > 3*time.Second {
		t.Errorf("others waited for %s", longest)
	}
	all.Wait()
}

// drip writes a little every now and then until the connection ends.
func drip(connection net.Conn, text string) {
	for text != "" {
		time.Sleep(300 * time.Millisecond)
		if _, err := io.WriteString(connection, text); err != nil {
			return
		}
	}
}
