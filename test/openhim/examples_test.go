package openhim_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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
	role, err := os.ReadFile("../../examples/openhim-role.json")
	if err != nil {
		t.Fatal(err)
	}
	const email, password = "cht-dhis2@openhim.org", "a long one"
	for _, call := range []struct {
		method, path string
		body         []byte
		want         int
	}{
		{http.MethodPost, "/roles", role, http.StatusCreated},
		{http.MethodPost, "/users", []byte(`{"firstname":"CHT","surname":"to DHIS2","email":"` + email + `","groups":["cht-dhis2"]}`), http.StatusCreated},
		{http.MethodPut, "/users/" + email, []byte(`{"password":"` + password + `"}`), http.StatusOK},
	} {
		request, err := http.NewRequestWithContext(t.Context(), call.method, server.URL+call.path, bytes.NewReader(call.body))
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
		if response.StatusCode != call.want {
			t.Fatalf("%s %s: got %d, want %d", call.method, call.path, response.StatusCode, call.want)
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
	if diff := cmp.Diff(want, file.Channels[0]); diff != "" {
		t.Errorf("the first channel of examples/openhim-metadata.json differs from mediatorConfig.json (-want +got):\n%s", diff)
	}
}
