package openhim_test

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/openhim"
	"github.com/cht-dhis2/mediator/internal/sandbox"
	"github.com/cht-dhis2/mediator/internal/transport"
)

// TestTheRoleOfTheExampleIsEnough makes the service account as docs/openhim.md says. Roles came with 8; the stand-in is
// held to what 8.5.0 was recorded to answer.
func TestTheRoleOfTheExampleIsEnough(t *testing.T) {
	server, err := sandbox.Listen(sandbox.NewOpenHIM(sandbox.OpenHIMConfig{}))
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	const email, password = "interop@openhim.org", "a long password"
	commands := documented(t)
	if len(commands) != 3 {
		t.Fatalf("docs/openhim.md has %d commands that make the account, want 3", len(commands))
	}
	for _, command := range commands {
		request, err := http.NewRequestWithContext(t.Context(), command.method, server.URL+command.path, strings.NewReader(command.body))
		if err != nil {
			t.Fatal(err)
		}
		request.SetBasicAuth(rootUser, rootPassword)
		request.Header.Set("Content-Type", "application/json")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode > 299 {
			t.Fatalf("%s %s: got %d", command.method, command.path, response.StatusCode)
		}
	}

	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	network, err := transport.New(transport.Config{Timeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	client := openhim.New(base, network, openhim.Account{Username: email, Password: func() (string, error) { return password, nil }})
	r := registration(t, "1.0.0", "mediator", 8070)
	if err := client.Register(t.Context(), r); err != nil {
		t.Error(err)
	}
	if _, err := client.Heartbeat(t.Context(), r.URN, time.Second); err != nil {
		t.Error(err)
	}
	if err := client.InstallChannels(t.Context(), r.URN, r.DefaultChannels[0].Name); err != nil {
		t.Error(err)
	}
	channel, err := client.ChannelID(t.Context(), r.DefaultChannels[0].Name)
	if err != nil {
		t.Error(err)
	}
	now := time.Now()
	own := openhim.Transaction{ID: openhim.NewID(now), ChannelID: channel, Status: openhim.Processing, Request: &openhim.Request{Method: http.MethodPost, Timestamp: openhim.At(now)}}
	if err := client.Create(t.Context(), own); err != nil {
		t.Error(err)
	}
	own.Status = openhim.Successful
	if err := client.Update(t.Context(), own); err != nil {
		t.Error(err)
	}
	if _, err := client.Find(t.Context(), own.ID); err != nil {
		t.Error(err)
	}
}

// command is a request to OpenHIM's API as docs/openhim.md has it.
type command struct{ method, path, body string }

// documented gives the commands of docs/openhim.md that make the service account.
func documented(t *testing.T) []command {
	t.Helper()
	page, err := os.ReadFile("../../docs/openhim.md")
	if err != nil {
		t.Fatal(err)
	}
	var commands []command
	for _, line := range regexp.MustCompile(`(?m)^him https://localhost:8080(/(?:roles|users)\S*)(?: --request (\S+))? --data (\S.*)$`).FindAllStringSubmatch(string(page), -1) {
		one := command{method: cmp.Or(line[2], http.MethodPost), path: line[1], body: strings.Trim(line[3], "'")}
		if file, isFile := strings.CutPrefix(one.body, "@"); isFile {
			text, err := os.ReadFile("../../" + file)
			if err != nil {
				t.Fatal(err)
			}
			one.body = string(text)
		}
		commands = append(commands, one)
	}
	return commands
}

// TestTheMetadataHasTheDefaultChannel holds the file for operators to what the mediator itself would install.
func TestTheMetadataHasTheDefaultChannel(t *testing.T) {
	r := registration(t, "1.0.0", "mediator", 8070)
	text, err := json.Marshal(r.DefaultChannels[0])
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]any
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	var file struct{ Channels []map[string]any }
	if err := json.Unmarshal(metadata(t, "mediator", 8070), &file); err != nil {
		t.Fatal(err)
	}
	for _, channel := range file.Channels {
		for _, route := range channel["routes"].([]any) {
			delete(route.(map[string]any), "username")
			delete(route.(map[string]any), "password")
		}
	}
	if diff := gocmp.Diff(want, file.Channels[0]); diff != "" {
		t.Errorf("the first channel of examples/openhim-metadata.json differs from mediatorConfig.json (-want +got):\n%s", diff)
	}
}
