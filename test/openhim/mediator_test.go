package openhim_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/dhis2"
	"github.com/cht-dhis2/mediator/internal/openhim"
	"github.com/cht-dhis2/mediator/internal/sandbox"
)

// installation is the mediator as an operator installs it: the program, its file, a CHT, a DHIS2, and a real OpenHIM.
type installation struct {
	*core

	service *process
	country *sandbox.Country
	dhis2   *sandbox.DHIS2
	// asked is the data set that clients ask for, kept the one that the schedule keeps.
	asked, kept string
	// period is the month that has data.
	period string
	host   string
	port   int
	// first is the transaction in which a client asked first.
	first string
}

// TestTheMediatorServesARealOpenHIM goes the way of docs/openhim.md. Each step needs those before it.
func TestTheMediatorServesARealOpenHIM(t *testing.T) {
	i := install(t)
	for _, step := range []struct {
		name string
		try  func(*testing.T)
	}{
		{"it registers, and installs the default channel", i.tryRegistration},
		{"it appears healthy", i.tryHeartbeat},
		{"the schedule submits, and the mediator makes a transaction of its own", i.trySchedule},
		{"a client asks through the channel, is answered 202, and the transaction is finished", i.tryTrigger},
		{"what a client asks wrongly is answered with the reason", i.tryMistakes},
		{"the console switches a data set off and on", i.tryConsole},
		{"what the console sets wrongly is refused, and told in the next transaction", i.tryBadConsole},
		{"a former transaction is run again", i.tryRerun},
		{"OpenHIM polls", i.tryPolling},
		{"it registers again when OpenHIM comes back with an empty database, and works on", i.tryRestart},
		{"it stops in good order", i.tryStop},
	} {
		if !t.Run(step.name, step.try) {
			return
		}
	}
}

// install starts a CHT, a DHIS2 and an OpenHIM, and the mediator with a file for them.
func install(t *testing.T) *installation {
	t.Helper()
	i := &installation{core: startCore(t), host: "127.0.0.1", port: freePorts(t, 1)[0]}
	last, err := dhis2.LatestClosed(dhis2.Monthly, time.Now().UTC())
	if err != nil {
		t.Fatal(err)
	}
	i.period = last.String()
	i.country = sandbox.NewCountry(sandbox.CountryConfig{Seed: 3, Facilities: 8, DataSets: 2, Elements: 6, Period: i.period})
	i.asked, i.kept = i.country.DataSets[0], i.country.DataSets[1]
	i.dhis2 = sandbox.NewDHIS2(sandbox.DHIS2Config{Version: "2.43.1", Metadata: i.country.DHIS2, Users: i.country.Users})
	cht := listen(t, sandbox.NewCHT(sandbox.CHTConfig{Documents: i.country.CHT}))
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte(i.file(cht, listen(t, i.dhis2))), 0o600); err != nil {
		t.Fatal(err)
	}
	i.service = start(t, "mediator", filepath.Dir(file), build(t, "../../mediator"), "serve", "--config", file)
	return i
}

// listen serves a stand-in until the test ends, and gives its address.
func listen(t *testing.T, handler http.Handler) string {
	t.Helper()
	server, err := sandbox.Listen(handler)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	return server.URL
}

// file is the mediator's configuration.
func (i *installation) file(cht, dhis2 string) string {
	return fmt.Sprintf(`listen: "%s:%d"
data_dir: data
openhim:
  api_url: %s
  username: %s
  password: %s
  trust_any: true
  host: %s
  port: %d
  heartbeat: 1s
cht:
  - {name: county, url: %q, username: %s, password: %s}
dhis2:
  - {name: national, url: %q, token: %s}
data_sets:
  - {id: %s, first_period: "%s", completeness: off}
  - {id: %s, first_period: "%s", completeness: off, schedule: "* * * * *", first_after_days: 0, reread_days: 40}
callers:
  - {name: openhim, username: openhim, password: %q}
`, i.host, i.port, i.api, rootUser, rootPassword, i.host, i.port, cht, i.country.CHTUsername, i.country.CHTPassword,
		dhis2, i.country.DHIS2Token, i.asked, i.period, i.kept, i.period, routePassword)
}

func (i *installation) tryRegistration(t *testing.T) {
	await(t, "the mediator in OpenHIM", 30*time.Second, func() bool { return ends(t, i.service) || i.mediator(t, urn) != nil })
	await(t, "the default channel", 10*time.Second, func() bool { return i.channelID(t, channelName) != "" })
	i.load(t, metadata(t, i.host, i.port))
	i.setPassword(t, interop())
}

func (i *installation) tryHeartbeat(t *testing.T) {
	first := i.mediator(t, urn)
	await(t, "a later heartbeat", 15*time.Second, func() bool {
		m := i.mediator(t, urn)
		return m.LastHeartbeat.After(first.LastHeartbeat) && m.Uptime > first.Uptime && m.Uptime > 0
	})
}

func (i *installation) trySchedule(t *testing.T) {
	var own transaction
	await(t, "a transaction of the schedule", 2*time.Minute, func() bool {
		found := i.transactions(t, map[string]any{"properties": map[string]string{"data_set": i.kept}})
		if len(found) > 0 {
			own = found[len(found)-1]
		}
		return own.Status != "" && own.Status != string(openhim.Processing)
	})
	own = i.transaction(t, own.ID)
	if own.ChannelID != i.channelID(t, channelName) {
		t.Errorf("it belongs to channel %q, want the mediator's own", own.ChannelID)
	}
	if own.Request.Method != http.MethodPost || own.Request.Path != "/cht-dhis2/submissions" || !strings.Contains(own.Request.Body, i.period) {
		t.Errorf("its request is %+v, want one that can be run again", own.Request)
	}
	if own.Properties["requested_by"] != "schedule" {
		t.Errorf("it was requested by %v, want the schedule", own.Properties["requested_by"])
	}
	i.isWhole(t, own, i.kept)
	i.holds(t, i.kept)
}

func (i *installation) tryTrigger(t *testing.T) {
	answer := i.trigger(t, "latest-closed")
	if answer.status != http.StatusAccepted {
		t.Fatalf("the client got %+v, want 202", answer)
	}
	var taken struct{ ID, State, Period string }
	if err := json.Unmarshal([]byte(answer.body), &taken); err != nil || taken.ID == "" || taken.Period != i.period {
		t.Errorf("the client got %s, want the id and the period of the submission", answer.body)
	}
	i.first = answer.transaction
	done := i.finished(t, answer.transaction)
	if done.Properties["submission"] != taken.ID {
		t.Errorf("the transaction is about submission %v, the client was told %s", done.Properties["submission"], taken.ID)
	}
	i.isWhole(t, done, i.asked)
	i.holds(t, i.asked)
}

// trigger asks for the month of a data set as a client does.
func (i *installation) trigger(t *testing.T, period string) answered {
	t.Helper()
	return i.ask(t, interop(), http.MethodPost, "/cht-dhis2/submissions", i.asking(period))
}

// asking is the body of a request for a month.
func (i *installation) asking(period string) string {
	return fmt.Sprintf(`{"data_set":%q,"period":%q,"cht":"county"}`, i.asked, period)
}

// finished waits until the mediator has finished a transaction.
func (i *installation) finished(t *testing.T, id string) transaction {
	t.Helper()
	if !openhim.IsID(id) {
		t.Fatalf("the answer names no transaction, but %q", id)
	}
	await(t, "the end of transaction "+id, 30*time.Second, func() bool {
		status := i.transaction(t, id).Status
		return status != "" && status != string(openhim.Processing)
	})
	return i.transaction(t, id)
}

// isWhole holds a transaction to what an auditor looks for in one of a month that was accepted whole.
func (i *installation) isWhole(t *testing.T, done transaction, dataSet string) {
	t.Helper()
	if done.Status != string(openhim.Successful) || done.Error != nil {
		t.Errorf("the transaction ended as %s, error %v", done.Status, done.Error)
	}
	values := fmt.Sprint(len(i.country.Right[dataSet]))
	want := map[string]any{
		"data_set": dataSet, "period": i.period, "source": "county", "dialect": "2.43", "values_fetched": values, "values_sent": values,
		"values_accepted": values, "values_refused": "0", "values_unchanged": "0", "org_units_accepted": "8",
	}
	for name, value := range want {
		if got := done.Properties[name]; got != value {
			t.Errorf("property %s is %v, want %v", name, got, value)
		}
	}
	if id, _ := done.Properties["submission"].(string); id == "" {
		t.Error("no property tells the submission")
	}
	for name := range done.Properties {
		if strings.ContainsAny(name, ".$") {
			t.Errorf("property %q has a dot or a dollar", name)
		}
	}
	i.tellsTheStory(t, done)
	i.keepsSecrets(t, done.ID)
}

// keepsSecrets looks for secrets in all that OpenHIM has of a transaction.
func (i *installation) keepsSecrets(t *testing.T, id string) {
	t.Helper()
	text := string(i.call(t, http.MethodGet, "/transactions/"+id, nil, http.StatusOK))
	for what, secret := range i.secrets() {
		if strings.Contains(text, secret) {
			t.Errorf("the transaction shows %s", what)
		}
	}
}

// secrets are what must stand in no transaction and in no log.
func (i *installation) secrets() map[string]string {
	return map[string]string{
		"OpenHIM's password": rootPassword, "the CHT's password": i.country.CHTPassword, "DHIS2's token": i.country.DHIS2Token,
		"the login at the CHT": base64.StdEncoding.EncodeToString([]byte(i.country.CHTUsername + ":" + i.country.CHTPassword)),
	}
}

// tellsTheStory holds the orchestrations to the order in which a submission runs.
func (i *installation) tellsTheStory(t *testing.T, done transaction) {
	t.Helper()
	names := done.names()
	at := -1
	for _, want := range []string{`Fetch ` + i.period + ` from CHT county`, `Transform: \d+ values, 8 org units`, `Send org units 1 to 8 of 8`} {
		pattern := regexp.MustCompile(`^\d+ ` + want)
		found := slices.IndexFunc(names, pattern.MatchString)
		if found <= at {
			t.Errorf("the orchestrations are %q, want one like %q after number %d", names, pattern, at+1)
		}
		at = found
	}
	for n, o := range done.Orchestrations {
		if want := fmt.Sprint(n+1) + " "; !strings.HasPrefix(o.Name, want) {
			t.Errorf("orchestration %q, want it to begin with %q", o.Name, want)
		}
	}
}

// holds compares what DHIS2 has of a data set with what was counted.
func (i *installation) holds(t *testing.T, dataSet string) {
	t.Helper()
	want, got, elements := map[[2]string]string{}, map[[2]string]string{}, map[string]bool{}
	for _, value := range i.country.Right[dataSet] {
		want[[2]string{value.DataElement, value.OrgUnit}] = value.Value
		elements[value.DataElement] = true
	}
	for _, value := range i.dhis2.Values() {
		if elements[value.DataElement] {
			got[[2]string{value.DataElement, value.OrgUnit}] = value.Value
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("DHIS2 holds other values than were counted (-want +got):\n%s", diff)
	}
}

func (i *installation) tryMistakes(t *testing.T) {
	for _, mistake := range []struct {
		name, body string
		status     int
		words      string
	}{
		{"a data set that nobody knows", `{"data_set":"DsNobody001","period":"` + i.period + `"}`, 0, "DsNobody001"},
		{"a misspelled field", `{"data_set":"` + i.asked + `","periode":"` + i.period + `"}`, 0, "periode"},
		{"no JSON", `period=` + i.period, 0, ""},
	} {
		answer := i.ask(t, interop(), http.MethodPost, "/cht-dhis2/submissions", mistake.body)
		if answer.status < 400 || answer.status > 499 || !strings.Contains(answer.body, mistake.words) || !strings.Contains(answer.body, `"error"`) {
			t.Errorf("%s: the client got %+v, want a 4xx with the reason", mistake.name, answer)
		}
		if got := i.finished(t, answer.transaction); got.Status == string(openhim.Successful) || got.Error != nil {
			t.Errorf("%s: the transaction ended as %s with error %v", mistake.name, got.Status, got.Error)
		}
	}
	if answer := i.ask(t, login{"interop-client", "a wrong one"}, http.MethodGet, "/cht-dhis2/schedule", ""); answer.status != http.StatusUnauthorized {
		t.Errorf("with a wrong password the client got %+v, want 401", answer)
	}
}

func (i *installation) tryConsole(t *testing.T) {
	i.configure(t, urn, map[string]any{"data_sets": []any{map[string]any{"id": i.asked, "enabled": false}}})
	await(t, "the data set switched off", 15*time.Second, func() bool { return !i.enabled(t, i.asked) })
	answer := i.trigger(t, i.period)
	if answer.status < 400 || answer.status > 499 || !strings.Contains(answer.body, i.asked) {
		t.Errorf("a client that asks for it got %+v, want a 4xx that names the data set", answer)
	}
	i.configure(t, urn, map[string]any{"data_sets": []any{map[string]any{"id": i.asked, "enabled": true}}})
	await(t, "the data set switched on", 15*time.Second, func() bool { return i.enabled(t, i.asked) })
	answer = i.trigger(t, i.period)
	if answer.status != http.StatusAccepted {
		t.Fatalf("a client that asks for it again got %+v, want 202", answer)
	}
	i.didNoHarm(t, i.finished(t, answer.transaction))
}

func (i *installation) tryBadConsole(t *testing.T) {
	i.configure(t, urn, map[string]any{"data_sets": []any{map[string]any{"id": "DsNobody001", "enabled": false}}})
	await(t, "the fault in the mediator's readiness", 15*time.Second, func() bool {
		return strings.Contains(i.askAt(t, login{}, http.MethodGet, i.address("/readyz"), "").body, "DsNobody001")
	})
	answer := i.trigger(t, i.period)
	if answer.status != http.StatusAccepted {
		t.Fatalf("a client got %+v, want 202 by the settings that were good last", answer)
	}
	done := i.finished(t, answer.transaction)
	if fault, _ := done.Properties["configuration_fault"].(string); !strings.Contains(fault, "DsNobody001") {
		t.Errorf("the transaction has the properties %v, want the fault among them", done.Properties)
	}
	i.configure(t, urn, map[string]any{"data_sets": []any{}})
	await(t, "a good readiness", 15*time.Second, func() bool {
		return !strings.Contains(i.askAt(t, login{}, http.MethodGet, i.address("/readyz"), "").body, "DsNobody001")
	})
}

// address is that of a path at the mediator itself.
func (i *installation) address(path string) string {
	return fmt.Sprintf("http://%s:%d%s", i.host, i.port, path)
}

// enabled asks the mediator, through the channel, whether a data set is run.
func (i *installation) enabled(t *testing.T, dataSet string) bool {
	t.Helper()
	answer := i.ask(t, interop(), http.MethodGet, "/cht-dhis2/schedule", "")
	var schedule struct {
		DataSets []struct {
			DataSet string `json:"data_set"`
			Enabled bool   `json:"enabled"`
		} `json:"data_sets"`
	}
	if err := json.Unmarshal([]byte(answer.body), &schedule); err != nil || answer.status != http.StatusOK {
		t.Fatalf("the schedule: got %+v, %v", answer, err)
	}
	for _, set := range schedule.DataSets {
		if set.DataSet == dataSet {
			return set.Enabled
		}
	}
	t.Fatalf("the schedule has no data set %s: %s", dataSet, answer.body)
	return false
}

// didNoHarm holds a transaction to what one is that came after a first: each value is accepted, again or still, and DHIS2
// holds what it held.
func (i *installation) didNoHarm(t *testing.T, done transaction) {
	t.Helper()
	if done.Status != string(openhim.Successful) {
		t.Errorf("the transaction ended as %s with %v", done.Status, done.Properties)
	}
	if got, want := count(t, done, "values_accepted")+count(t, done, "values_unchanged"), len(i.country.Right[i.asked]); got != want {
		t.Errorf("%d values are accepted or unchanged, want %d: %v", got, want, done.Properties)
	}
	i.holds(t, i.asked)
}

// count reads a property that is a number.
func count(t *testing.T, of transaction, property string) int {
	t.Helper()
	text, _ := of.Properties[property].(string)
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Errorf("property %s is %v, want a number", property, of.Properties[property])
	}
	return n
}

func (i *installation) tryRerun(t *testing.T) {
	i.runAgain(t, i.first)
	var child transaction
	await(t, "a transaction that runs "+i.first+" again", 20*time.Second, func() bool {
		found := i.transactions(t, map[string]any{"parentID": i.first})
		if len(found) == 1 {
			child = found[0]
		}
		return child.ID != ""
	})
	child = i.finished(t, child.ID)
	if child.Properties["period"] != i.period {
		t.Errorf("it was about period %v, want %s, to which latest-closed was resolved first", child.Properties["period"], i.period)
	}
	i.didNoHarm(t, child)
}

func (i *installation) tryPolling(t *testing.T) {
	channel := i.poll(t)
	var polled transaction
	await(t, "a poll", 30*time.Second, func() bool {
		for _, found := range i.transactions(t, map[string]any{"channelID": channel}) {
			if found.Status != "" && found.Status != string(openhim.Processing) {
				polled = found
			}
		}
		return polled.ID != ""
	})
	i.pollNoMore(t, channel)
	if polled.Status != string(openhim.Successful) || polled.Response.Status != http.StatusOK || !strings.Contains(polled.Response.Body, `"submitted"`) {
		t.Errorf("OpenHIM has %+v, want a poll that was answered 200", polled)
	}
}

func (i *installation) tryRestart(t *testing.T) {
	i.stop()
	kept := i.askAt(t, login{"openhim", routePassword}, http.MethodPost, i.address("/cht-dhis2/submissions"), i.asking(i.period))
	var meanwhile struct{ ID string }
	if err := json.Unmarshal([]byte(kept.body), &meanwhile); err != nil || kept.status != http.StatusAccepted {
		t.Fatalf("while OpenHIM is away the mediator answers %+v, want 202", kept)
	}
	i.startEmpty(t)
	await(t, "the mediator in the new OpenHIM", time.Minute, func() bool { return ends(t, i.service) || i.mediator(t, urn) != nil })
	await(t, "the default channel in the new OpenHIM", 10*time.Second, func() bool { return i.channelID(t, channelName) != "" })
	await(t, "the report of what was submitted meanwhile", time.Minute, func() bool {
		return len(i.transactions(t, map[string]any{"properties": map[string]string{"submission": meanwhile.ID}})) == 1
	})

	i.call(t, http.MethodPost, "/clients", map[string]any{"clientID": interop().user, "name": "Interoperability", "roles": []string{"interop"}}, http.StatusCreated)
	i.setPassword(t, interop())
	var answer answered // a channel is open about a second after it was made
	await(t, "an open channel", 10*time.Second, func() bool {
		answer = i.trigger(t, i.period)
		return answer.status != http.StatusNotFound && answer.status != http.StatusUnauthorized
	})
	if answer.status != http.StatusAccepted {
		t.Fatalf("through the channel that the mediator installed the client got %+v, want 202", answer)
	}
	i.didNoHarm(t, i.finished(t, answer.transaction))
	for _, report := range i.transactions(t, map[string]any{"properties": map[string]string{"submission": meanwhile.ID}}) {
		if channel := i.channelID(t, channelName); report.ChannelID != channel {
			t.Errorf("the report of what was submitted meanwhile belongs to channel %q, want %q of the new OpenHIM", report.ChannelID, channel)
		}
	}
}

func (i *installation) tryStop(t *testing.T) {
	i.service.stop()
	output := i.service.output()
	if i.service.code != 0 {
		t.Errorf("it ended with code %d, want 0:\n%s", i.service.code, tail(output, 30))
	}
	for what, secret := range i.secrets() {
		if strings.Contains(output, secret) {
			t.Errorf("its log has %s", what)
		}
	}
}
