package openhim_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/openhim"
	"github.com/cht-dhis2/mediator/internal/sandbox"
)

func TestRegisterIsUnderstoodByBothCores(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"8.5.0", "4.0.5"} {
		client, server, _ := known(t, sandbox.OpenHIMConfig{Version: version}, root())
		r := ours(t)
		if err := client.Register(t.Context(), r); err != nil {
			t.Fatalf("%s: %v", version, err)
		}
		mediators := server.Mediators()
		if len(mediators) != 1 || mediators[0]["urn"] != r.URN || mediators[0]["version"] != "1.0.0" {
			t.Errorf("%s: stored %v", version, mediators)
		}
	}
}

func TestRegisterTellsWhatOpenHIMRefuses(t *testing.T) {
	t.Parallel()
	client, _, _ := known(t, sandbox.OpenHIMConfig{}, root())
	r := ours(t)
	r.Version = "1.0"
	e := errorOf(t, client.Register(t.Context(), r))
	if e.Kind != openhim.Refused || e.Temporary || !strings.Contains(e.What, "Must be in SemVer form x.y.z") {
		t.Errorf("got %+v", e)
	}
}

func TestAHeartbeatBringsTheConfigurationEachTime(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"8.5.0", "4.0.5"} {
		client, server, _ := known(t, sandbox.OpenHIMConfig{Version: version}, root())
		r := ours(t)
		if _, err := client.Heartbeat(t.Context(), r.URN, time.Second); !errors.Is(err, openhim.ErrForgotten) {
			t.Errorf("%s: before registering: %v", version, err)
		}
		if err := client.Register(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			config, err := client.Heartbeat(t.Context(), r.URN, 1500*time.Millisecond)
			if err != nil || string(config) != `{"data_sets":[]}` {
				t.Errorf("%s: got %s and %v", version, config, err)
			}
		}
		if got := server.Mediators()[0]["_uptime"]; got != 1.5 {
			t.Errorf("%s: uptime %v, want 1.5 s", version, got)
		}
	}
}

func TestAHeartbeatWithoutAConfigurationBringsNone(t *testing.T) {
	t.Parallel()
	client, _, _ := known(t, sandbox.OpenHIMConfig{}, root())
	r := ours(t)
	r.Config, r.ConfigDefs = nil, nil
	if err := client.Register(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if config, err := client.Heartbeat(t.Context(), r.URN, 0); err != nil || config != nil {
		t.Errorf("got %q and %v", config, err)
	}
}

func TestAPageOfAProxyIsNoHeartbeat(t *testing.T) {
	t.Parallel()
	client, server, _ := known(t, sandbox.OpenHIMConfig{}, root())
	r := ours(t)
	if err := client.Register(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	server.Fail(sandbox.Fault{Kind: sandbox.LoginPage})
	_, err := client.Heartbeat(t.Context(), r.URN, 0)
	if e := errorOf(t, err); e.Kind != openhim.Unusable || !e.Temporary || e.Remedy == "" {
		t.Errorf("got %+v", e)
	}
}

func TestOddURNsAreFound(t *testing.T) {
	t.Parallel()
	client, _, _ := known(t, sandbox.OpenHIMConfig{}, root())
	for _, urn := range []string{"urn:mediator:a b/c?d#e", "100%", "ä"} {
		r := ours(t)
		r.URN = urn
		if err := client.Register(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Heartbeat(t.Context(), urn, 0); err != nil {
			t.Errorf("%s: %v", urn, err)
		}
	}
}

func TestChannelsAreInstalledOnceAndLeftAlone(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"8.5.0", "4.0.5"} {
		client, server, _ := known(t, sandbox.OpenHIMConfig{Version: version}, root())
		r := ours(t)
		name := r.DefaultChannels[0].Name
		if err := client.InstallChannels(t.Context(), r.URN, name); !errors.Is(err, openhim.ErrForgotten) {
			t.Errorf("%s: before registering: %v", version, err)
		}
		if err := client.Register(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if err := client.InstallChannels(t.Context(), r.URN, name); err != nil {
			t.Fatalf("%s: %v", version, err)
		}
		before := server.Channels()
		if err := client.InstallChannels(t.Context(), r.URN, name); err != nil {
			t.Errorf("%s: a second time: %v", version, err)
		}
		if diff := cmp.Diff(before, server.Channels()); diff != "" {
			t.Errorf("%s: channels changed (-before +after):\n%s", version, diff)
		}
		id, err := client.ChannelID(t.Context(), name)
		if err != nil || id != before[0]["_id"] {
			t.Errorf("%s: id %q and %v, want %v", version, id, err, before[0]["_id"])
		}
		if e := errorOf(t, client.InstallChannels(t.Context(), r.URN, "No such channel")); e.Kind != openhim.Refused {
			t.Errorf("%s: unknown name: %+v", version, e)
		}
	}
}

func TestAChannelThatIsNotThereIsTold(t *testing.T) {
	t.Parallel()
	client, _, _ := known(t, sandbox.OpenHIMConfig{}, root())
	_, err := client.ChannelID(t.Context(), "CHT to DHIS2")
	if e := errorOf(t, err); e.Kind != openhim.Unknown || !strings.Contains(e.Remedy, "channel-view-all") {
		t.Errorf("got %+v", e)
	}
}

// A change made before the first heartbeat is not announced by OpenHIM; the mediator asks for it.
func TestAChangeBeforeTheFirstHeartbeatArrives(t *testing.T) {
	t.Parallel()
	client, server, _ := known(t, sandbox.OpenHIMConfig{}, root())
	r := ours(t)
	if err := client.Register(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	want := `{"data_sets":[{"id":"a"}]}`
	changeConfig(t, server, r.URN, want)
	got, err := client.Heartbeat(t.Context(), r.URN, 0)
	if err != nil || !json.Valid(got) || string(got) != want {
		t.Errorf("got %s and %v", got, err)
	}
}
