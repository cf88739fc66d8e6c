package openhim_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/openhim"
	"github.com/cht-dhis2/mediator/internal/sandbox"
)

// kept is a Registrar at work in a bubble, and what it told.
type kept struct {
	*openhim.Registrar

	server  *sandbox.OpenHIM
	network *inMemory
	urn     string
	configs []string
	events  []string
}

// keep runs a Registrar until the test ends.
func keep(t *testing.T, config sandbox.OpenHIMConfig, away bool) *kept {
	t.Helper()
	client, server, network := known(t, config, root())
	network.down = away
	k := &kept{server: server, network: network}
	r := ours(t)
	k.urn = r.URN
	k.Registrar = openhim.NewRegistrar(client, openhim.RegistrarConfig{
		Registration: r, Interval: 10 * time.Second,
		Configured: func(_ context.Context, config json.RawMessage) { k.configs = append(k.configs, string(config)) },
		Told:       func(e openhim.Event) { k.events = append(k.events, describe(e)) },
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		k.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return k
}

func describe(e openhim.Event) string {
	switch {
	case e.Registered && e.New:
		return "registered for the first time"
	case e.Registered:
		return "registered"
	case errors.Is(e.Err, openhim.ErrForgotten):
		return "forgotten"
	case e.Err != nil:
		return e.Err.Error()
	}
	return "known"
}

// after lets time pass.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestTheMediatorRegistersAndStaysKnown(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"8.5.0", "4.0.5"} {
		synctest.Test(t, func(t *testing.T) {
			k := keep(t, sandbox.OpenHIMConfig{Version: version}, false)
			synctest.Wait()
			if got := k.Seen(); !got.Equal(time.Now()) || k.Err() != nil {
				t.Errorf("%s: seen %v, error %v", version, got, k.Err())
			}
			if got := len(k.server.Channels()); got != 1 {
				t.Errorf("%s: %d channels, want the default one", version, got)
			}
			k.network.made()
			after(30 * time.Second)
			beat := "POST /mediators/urn%3Amediator%3Acht-dhis2/heartbeat"
			if got, want := k.network.made(), strings.Join([]string{beat, beat, beat}, "\n"); got != want {
				t.Errorf("%s: in three intervals:\n%s", version, got)
			}
			if got := k.server.Mediators()[0]["_uptime"]; got != 30.0 {
				t.Errorf("%s: uptime %v, want 30 s", version, got)
			}
			if diff := cmp.Diff([]string{"registered for the first time"}, k.events); diff != "" {
				t.Errorf("%s: events (-want +got):\n%s", version, diff)
			}
			if diff := cmp.Diff([]string{`{"data_sets":[]}`}, k.configs); diff != "" {
				t.Errorf("%s: configurations (-want +got):\n%s", version, diff)
			}
		})
	}
}

// TestAnOutageIsToldOnceWhileTheServerIsLeftAlone has a server that is away, and of which every other try is not made, as a breaker
// does.
func TestAnOutageIsToldOnceWhileTheServerIsLeftAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, sandbox.OpenHIMConfig{}, false)
		synctest.Wait()
		k.network.spares = true
		k.network.set(true)
		after(3 * time.Hour)
		if len(k.events) != 2 || !strings.Contains(k.events[1], "connection refused") {
			t.Errorf("%d events of one outage: %q", len(k.events), k.events)
		}
		k.network.set(false)
		after(time.Hour)
		if got := k.events[len(k.events)-1]; got != "known" {
			t.Errorf("the last event is %q", got)
		}
	})
}

func TestAChangeInTheConsoleArrivesOnceWhateverTheOrderOfItsKeys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, sandbox.OpenHIMConfig{}, false)
		synctest.Wait()
		changeConfig(t, k.server, k.urn, `{"data_sets":[{"id":"a","enabled":false}]}`)
		after(time.Minute)
		changeConfig(t, k.server, k.urn, `{"data_sets":[{"enabled":false,"id":"a"}]}`)
		after(time.Minute)
		changeConfig(t, k.server, k.urn, `{}`)
		after(time.Minute)
		want := []string{`{"data_sets":[]}`, `{"data_sets":[{"enabled":false,"id":"a"}]}`, `{}`}
		if diff := cmp.Diff(want, k.configs); diff != "" {
			t.Errorf("configurations (-want +got):\n%s", diff)
		}
	})
}

// The answer that carried a change was lost; OpenHIM announces it no more, so it has to be asked for.
func TestAChangeWhoseAnswerWasLostArrivesWithTheNextHeartbeat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, sandbox.OpenHIMConfig{}, false)
		synctest.Wait()
		changeConfig(t, k.server, k.urn, `{"data_sets":[{"id":"a"}]}`)
		k.server.Fail(sandbox.Fault{Kind: sandbox.ResetAfter, Times: 3})
		after(time.Minute)
		if got, want := k.configs[len(k.configs)-1], `{"data_sets":[{"id":"a"}]}`; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

func TestAMediatorThatWasForgottenRegistersAgainAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, sandbox.OpenHIMConfig{}, false)
		synctest.Wait()
		after(time.Minute)
		k.server.Forget()
		after(10 * time.Second)
		if got := len(k.server.Mediators()); got != 1 {
			t.Fatalf("%d mediators", got)
		}
		if len(k.server.Channels()) != 1 {
			t.Error("the channel was not installed again")
		}
		if got := time.Since(k.Seen()); got != 0 {
			t.Errorf("seen %v ago", got)
		}
		want := []string{"registered for the first time", "forgotten", "registered for the first time"}
		if diff := cmp.Diff(want, k.events); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}

func TestOpenHIMMayStartDaysAfterTheMediator(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, sandbox.OpenHIMConfig{}, true)
		after(72 * time.Hour)
		if !k.Seen().IsZero() || k.Err() == nil {
			t.Errorf("seen %v, error %v", k.Seen(), k.Err())
		}
		tries := strings.Count(k.network.made(), "GET /about")
		if least, most := 72*3600/33*3, 72*3600/18*3+30; tries < least || tries > most {
			t.Errorf("%d tries in three days, want %d to %d", tries, least, most)
		}
		k.network.set(false)
		after(33 * time.Second)
		if k.Seen().IsZero() || k.Err() != nil {
			t.Errorf("after the start: seen %v, error %v", k.Seen(), k.Err())
		}
		want := []string{"ask OpenHIM for its version: connection refused", "registered for the first time"}
		if diff := cmp.Diff(want, k.events); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}

func TestAnOutageIsToldOnceAndSoIsItsEnd(t *testing.T) {
	t.Parallel()
	for _, fault := range []sandbox.Fault{
		{Kind: sandbox.ResetBefore},
		{Kind: sandbox.Status, Status: 500},
		{Kind: sandbox.Status, Status: 503},
		{Kind: sandbox.LoginPage, Path: "/mediators"},
	} {
		synctest.Test(t, func(t *testing.T) {
			k := keep(t, sandbox.OpenHIMConfig{}, false)
			synctest.Wait()
			seen := k.Seen()
			k.server.Fail(fault)
			after(24 * time.Hour)
			if fault.Kind != sandbox.LoginPage && !k.Seen().Equal(seen) {
				t.Errorf("%s: seen %v, want %v", fault.Kind, k.Seen(), seen)
			}
			k.server.Heal()
			after(3 * time.Minute)
			if time.Since(k.Seen()) > 10*time.Second || k.Err() != nil {
				t.Errorf("%s: seen %v ago, error %v", fault.Kind, time.Since(k.Seen()), k.Err())
			}
			if fault.Kind != sandbox.LoginPage && (len(k.events) != 3 || k.events[2] != "known") {
				t.Errorf("%s: events %q", fault.Kind, k.events)
			}
		})
	}
}

func TestASettingThatIsWrongIsTriedSlowly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		users := []sandbox.OpenHIMUser{{Email: rootUser, Password: "another", Groups: []string{"admin"}}}
		k := keep(t, sandbox.OpenHIMConfig{Users: users}, false)
		after(time.Hour)
		if got := strings.Count(k.network.made(), "GET /about"); got > 31 {
			t.Errorf("%d tries in an hour", got)
		}
		if len(k.events) != 1 || !strings.Contains(k.events[0], "401") {
			t.Errorf("events %q", k.events)
		}
	})
}

func TestAChannelThatAPersonHasDeletedStaysDeleted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, server, _ := known(t, sandbox.OpenHIMConfig{}, root())
		if err := client.Register(t.Context(), ours(t)); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		openhim.NewRegistrar(client, openhim.RegistrarConfig{Registration: ours(t)}).Run(ctx)
		if got := len(server.Channels()); got != 0 {
			t.Errorf("%d channels", got)
		}
	})
}

func TestChannelsThatAKilledProcessHasNotInstalledAreInstalledByTheNextOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, server, _ := known(t, sandbox.OpenHIMConfig{}, root())
		var remembered string
		process := func() {
			ctx, end := context.WithTimeout(t.Context(), time.Second)
			defer end()
			openhim.NewRegistrar(client, openhim.RegistrarConfig{
				Registration: ours(t),
				Remember: func(_ context.Context, text string) error {
					remembered = text
					return nil
				},
				Recall: func(context.Context) (string, error) { return remembered, nil },
			}).Run(ctx)
		}
		server.Fail(sandbox.Fault{Kind: sandbox.ResetBefore, Path: "/mediators/" + ours(t).URN + "/channels"})
		process()
		server.Heal()
		if len(server.Mediators()) != 1 || len(server.Channels()) != 0 {
			t.Fatalf("%d mediators, %d channels", len(server.Mediators()), len(server.Channels()))
		}
		process()
		if len(server.Channels()) != 1 || remembered != "" {
			t.Errorf("%d channels, and %q is remembered", len(server.Channels()), remembered)
		}
	})
}

func TestChannelsThatCannotBeInstalledKeepNoHeartbeatBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, server, network := known(t, sandbox.OpenHIMConfig{}, root())
		r := ours(t)
		path := "/mediators/" + r.URN + "/channels"
		server.Fail(sandbox.Fault{Kind: sandbox.Status, Status: 500, Path: path, Times: 3})
		registrar := openhim.NewRegistrar(client, openhim.RegistrarConfig{Registration: r})
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second)
		defer cancel()
		go func() {
			time.Sleep(25 * time.Second)
			if registrar.Err() == nil || time.Since(registrar.Seen()) > 5*time.Second {
				t.Errorf("error %v, seen %v ago", registrar.Err(), time.Since(registrar.Seen()))
			}
			server.Heal()
		}()
		registrar.Run(ctx)
		if registrar.Err() != nil || len(server.Channels()) != 1 {
			t.Errorf("error %v, %d channels", registrar.Err(), len(server.Channels()))
		}
		if got := strings.Count(network.made(), "/heartbeat"); got < 4 {
			t.Errorf("%d heartbeats", got)
		}
	})
}

func TestLifeIsThatOfTheProcessThatSentTheLastHeartbeat(t *testing.T) {
	t.Parallel()
	client, _, _ := known(t, sandbox.OpenHIMConfig{}, root())
	r := parse(t, document(t)).Fill("1.4.0", "mediator", 8070)
	if life, err := client.Life(t.Context(), r.URN); err != nil || !life.Heartbeat.IsZero() {
		t.Errorf("before it is known: %+v, %v", life, err)
	}
	if err := client.Register(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if life, err := client.Life(t.Context(), r.URN); err != nil || !life.Heartbeat.IsZero() {
		t.Errorf("before its first heartbeat: %+v, %v", life, err)
	}
	if _, err := client.Heartbeat(t.Context(), r.URN, 90*time.Second); err != nil {
		t.Fatal(err)
	}
	if life, err := client.Life(t.Context(), r.URN); err != nil || life.Heartbeat.Sub(life.Began) != 90*time.Second {
		t.Errorf("got %+v, %v", life, err)
	}
}
