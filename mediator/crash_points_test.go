//go:build unix

package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"time"
)

// kill is a point at which a process is killed: "before-commit" and "after-commit" are its transactions, "after" is so many
// milliseconds after its start, and any other one is a request at a stand-in, in one of its stages. The process counts the
// first two itself, as package ledger does it when it is built for that.
type kill struct {
	at     string
	number int
}

func (k kill) String() string { return fmt.Sprintf("%s:%d", k.at, k.number) }

// atCommit says that the process kills itself.
func (k kill) atCommit() bool { return strings.HasSuffix(k.at, "-commit") }

// The stages of a request at a stand-in at which the process is killed.
const (
	// arriving: half of the request has come, and the rest never does.
	arriving = "arriving"
	// arrived: the request has come, and the stand-in does its work when the process is gone.
	arrived = "arrived"
	// answering: the work is done, and half of the answer is on its way.
	answering = "answering"
	// answered: the answer is on its way, and nobody has written it down.
	answered = "answered"
)

// crashPlace is a kind of request at which a process can be killed.
type crashPlace struct {
	name   string
	stages []string
	// most is about how many a process makes, for those who pick one.
	most int
}

func crashPlaces() []crashPlace {
	return []crashPlace{
		{"cht-read", []string{answering}, 1},
		{"cht-export", []string{arrived, answering, answered}, 1},
		{"dhis2-read", []string{answering}, 8},
		{"dhis2-import", []string{arriving, arrived, answering, answered}, 4},
		{"dhis2-register", []string{arriving, arrived, answering, answered}, 1},
		{"openhim-report", []string{arriving, arrived, answered}, 2},
		{"openhim-register", []string{arrived, answered}, 3},
		{"openhim-trigger", []string{arrived, answered}, 1},
	}
}

// placeOf names what is asked of a stand-in.
func placeOf(server string, r *http.Request) string {
	change := r.Method == http.MethodPost || r.Method == http.MethodPut
	switch {
	case server == "cht" && strings.HasPrefix(r.URL.Path, "/api/v2/export/"):
		return "cht-export"
	case server == "dhis2" && change && strings.HasPrefix(r.URL.Path, "/api/completeDataSetRegistrations"):
		return "dhis2-register"
	case server == "dhis2" && change:
		return "dhis2-import"
	case server == "api" && change && strings.HasPrefix(r.URL.Path, "/transactions"):
		return "openhim-report"
	case server == "api" && change:
		return "openhim-register"
	case server == "router":
		return "openhim-trigger"
	default:
		return server + "-read"
	}
}

// at serves a stand-in that kills the process when it is asked what the process is to be killed at.
func (c *crashing) at(server string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		stage := c.stage(placeOf(server, r))
		if stage == arriving {
			_, _ = io.CopyN(io.Discard, r.Body, max(r.ContentLength/2, 0))
			c.kill()
			panic(http.ErrAbortHandler)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler) // the process was killed at another point
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		switch placeOf(server, r) {
		case "dhis2-import":
			c.notePost(body)
		case "dhis2-register":
			c.noteRegistrations(body)
		}
		switch stage {
		case arrived:
			c.kill()
			next.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		case answering, answered:
			answer := httptest.NewRecorder()
			next.ServeHTTP(answer, r)
			text := answer.Body.Bytes()
			maps.Copy(w.Header(), answer.Header())
			w.Header().Set("Content-Length", strconv.Itoa(len(text)))
			w.WriteHeader(answer.Code)
			if stage == answering {
				text = text[:len(text)/2]
			}
			_, _ = w.Write(text)
			_ = http.NewResponseController(w).Flush()
			c.kill()
			panic(http.ErrAbortHandler)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// stage counts a request, and says in which of its stages the process is to be killed; empty is in none.
func (c *crashing) stage(place string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked[place]++
	stage, is := strings.CutPrefix(c.armed.at, place+"-")
	if !is || c.asked[place] != c.armed.number {
		return ""
	}
	return stage
}

// notePost notes what arrives at DHIS2, by the digest of its text.
func (c *crashing) notePost(body []byte) {
	text := body
	if packed, err := gzip.NewReader(bytes.NewReader(body)); err == nil {
		if text, err = io.ReadAll(packed); err != nil {
			return // it was cut, and DHIS2 takes nothing of it
		}
	}
	sum := sha256.Sum256(text)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.posted = append(c.posted, hex.EncodeToString(sum[:]))
}

// noteRegistrations notes which org units are registered as complete, by data set and org unit.
func (c *crashing) noteRegistrations(body []byte) {
	var sent struct {
		List []struct {
			DataSet string `json:"dataSet"`
			OrgUnit string `json:"organisationUnit"`
		} `json:"completeDataSetRegistrations"`
	}
	if json.Unmarshal(body, &sent) != nil {
		return // it was cut, and DHIS2 takes nothing of it
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	for _, r := range sent.List {
		names = append(names, r.DataSet+" "+r.OrgUnit)
	}
	c.registering = append(c.registering, names)
}

// kill kills the process that runs now, and waits until it is gone.
func (c *crashing) kill() {
	c.mu.Lock()
	p := c.process
	c.mu.Unlock()
	_ = p.Process.Kill()
	<-p.ended
}

// arm lets a process, which has just been started, be killed.
func (c *crashing) arm(p *process, at kill) {
	c.mu.Lock()
	c.process, c.armed, c.asked = p, at, map[string]int{}
	c.mu.Unlock()
	if at.at != "after" {
		return
	}
	timer := time.AfterFunc(time.Duration(at.number)*time.Millisecond, func() { _ = p.Process.Kill() })
	c.t.Cleanup(func() { timer.Stop() })
}
