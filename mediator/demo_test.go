package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// watcher keeps what is written and calls seen once, when a text has come.
type watcher struct {
	bytes.Buffer

	text string
	seen func(string)
}

func (w *watcher) Write(p []byte) (int, error) {
	n, err := w.Buffer.Write(p)
	if w.seen != nil && strings.Contains(w.String(), w.text) {
		seen := w.seen
		w.seen = nil
		seen(w.String())
	}
	return n, err
}

func TestDemoKeepsItsServersUntilItIsStopped(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &watcher{text: "national-243/config.yaml"}
	out.seen = func(said string) {
		defer cancel()
		addresses := regexp.MustCompile(`(?m)^ +(?:CHT|DHIS2 \S+) +(http://\S+)$`).FindAllStringSubmatch(said, -1)
		if len(addresses) != 3 {
			t.Errorf("%d addresses in %s", len(addresses), said)
		}
		client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, Transport: &http.Transport{DisableKeepAlives: true}}
		for _, address := range addresses {
			response, err := client.Get(address[1])
			if err != nil {
				t.Error(err)
				continue
			}
			_ = response.Body.Close()
		}
	}
	if code := run(ctx, &app{stdout: out, stderr: io.Discard}, []string{"demo", "--keep"}); code != 0 {
		t.Errorf("exit code %d: %s", code, out.String())
	}
	if out.seen != nil {
		t.Errorf("the demo did not come to its end: %s", out.String())
	}
}
