package openhim_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cht-dhis2/mediator/internal/openhim"
)

func document(t testing.TB) []byte {
	t.Helper()
	text, err := os.ReadFile("../../mediatorConfig.json")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func parse(t testing.TB, document []byte) openhim.Registration {
	t.Helper()
	r, err := openhim.ParseRegistration(document)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTheDocumentOfThisMediatorIsCompleteOnceFilled(t *testing.T) {
	r := parse(t, document(t))
	if r.Check() == nil {
		t.Error("passes before version and address are filled in; one of them stands in the file")
	}
	filled := r.Fill("1.4.0", "mediator", 8070)
	if err := filled.Check(); err != nil {
		t.Error(err)
	}
	if got, want := filled.URN, "urn:mediator:cht-dhis2"; got != want {
		t.Errorf("urn is %s, want %s", got, want)
	}
	if got, want := filled.DefaultChannels[0].URLPattern, "^/cht-dhis2/.*$"; got != want {
		t.Errorf("channel takes %s, want %s", got, want)
	}
	if filled.DefaultChannels[0].AutoRetry {
		t.Error("the channel retries too; the mediator does that by itself")
	}
}

func TestTheDocumentOffersNoPlaceForASecret(t *testing.T) {
	if strings.Contains(strings.ToLower(string(document(t))), "password") {
		t.Error("the document speaks of a password; secrets stay in the mediator's own configuration")
	}
}

func TestFillKeepsAddressesThatTheDocumentNamesAndLeavesTheOriginalAlone(t *testing.T) {
	r := parse(t, []byte(`{"urn":"u","name":"n","endpoints":[{"name":"own"},{"name":"other","host":"elsewhere","port":90}],
		"defaultChannelConfig":[{"name":"c","urlPattern":"^/c$","methods":["GET"],"allow":[],"routes":[{"name":"r","port":91}]}]}`))
	filled := r.Fill("1.0.0", "mediator", 8070)

	want := []openhim.Endpoint{{Name: "own", Host: "mediator", Port: 8070}, {Name: "other", Host: "elsewhere", Port: 90}}
	if diff := cmp.Diff(want, filled.Endpoints); diff != "" {
		t.Errorf("endpoints (-want +got):\n%s", diff)
	}
	wantRoutes := []openhim.Endpoint{{Name: "r", Host: "mediator", Port: 91}}
	if diff := cmp.Diff(wantRoutes, filled.DefaultChannels[0].Routes); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
	if r.Version != "" || r.Endpoints[0].Host != "" || r.DefaultChannels[0].Routes[0].Host != "" {
		t.Errorf("the original has changed: %+v", r)
	}
}

func TestParseRegistrationIsStrict(t *testing.T) {
	for _, test := range []struct{ name, document, want string }{
		{"empty", ``, "EOF"},
		{"cut", `{"urn":"u"`, "unexpected EOF"},
		{"no object", `["u"]`, "cannot unmarshal array"},
		{"wrong type", `{"urn":"u","endpoints":[{"port":"8070"}]}`, "endpoints.port"},
		{"unknown field", `{"urn":"u","endpoint":[]}`, `unknown field "endpoint"`},
		{"unknown field inside", `{"defaultChannelConfig":[{"routes":[{"pathTransfrom":"s/a/b"}]}]}`, `unknown field "pathTransfrom"`},
		{"two documents", `{"urn":"u"} {"urn":"v"}`, "follows after its closing brace"},
		{"rest of a merge", `{"urn":"u"}>>>>`, "follows after its closing brace"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := openhim.ParseRegistration([]byte(test.document))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want one with %q", err, test.want)
			}
		})
	}
}

// everything uses each kind of field once, and Check finds nothing wrong with it.
const everything = `{
	"urn": "urn:mediator:test", "version": "1.0.0-rc.1+build.5", "name": "Test", "description": "A test.",
	"endpoints": [{"name": "e", "type": "http", "host": "mediator", "port": 8070, "path": "/", "secured": true, "primary": true, "status": "enabled"}],
	"defaultChannelConfig": [{
		"name": "c", "description": "A channel.", "urlPattern": "^/c/.*$", "type": "http", "methods": ["GET", "POST"],
		"authType": "private", "allow": ["interop"], "requestBody": true, "responseBody": true, "timeout": 60000, "priority": 1,
		"status": "enabled", "isAsynchronousProcess": true, "autoRetryEnabled": true, "autoRetryPeriodMinutes": 1,
		"autoRetryMaxAttempts": 5, "maxBodyAgeDays": 30,
		"routes": [
			{"name": "first", "host": "mediator", "port": 8070, "pathTransform": "s/\\/c//g", "primary": true},
			{"name": "old", "host": "mediator", "port": 8071, "primary": true, "status": "disabled"}
		]
	}],
	"configDefs": [
		{"param": "text", "type": "string"}, {"param": "long", "type": "bigstring"}, {"param": "secret", "type": "password"},
		{"param": "days", "type": "number"}, {"param": "enabled", "type": "bool"}, {"param": "names", "type": "map"},
		{"param": "source", "type": "option", "values": ["export", "targets"]},
		{"param": "tags", "type": "string", "array": true},
		{"param": "one", "type": "struct", "template": [{"param": "id", "type": "string"}, {"param": "secret", "type": "password"}]},
		{"param": "many", "type": "struct", "array": true, "template": [{"param": "id", "type": "string"}, {"param": "source", "type": "option", "values": ["export"]}]}
	],
	"config": {
		"text": "", "long": "a\nb", "secret": "", "days": 5, "enabled": true, "names": {"a": "b"}, "source": "export", "tags": ["a"],
		"one": {"id": "x"}, "many": [{"id": "x", "source": "export"}, {}]
	}
}`

func TestCheckPassesADocumentThatUsesEverything(t *testing.T) {
	if err := parse(t, []byte(everything)).Check(); err != nil {
		t.Error(err)
	}
}

func TestCheckNamesEachFaultByItsPlace(t *testing.T) {
	number := func(n int) *int { return &n }
	type registration = openhim.Registration
	channel := func(change func(*openhim.Channel)) func(*registration) {
		return func(r *registration) { change(&r.DefaultChannels[0]) }
	}
	for _, test := range []struct {
		name string
		make func(*registration)
		want string
	}{
		{"no urn", func(r *registration) { r.URN = "" }, "urn: is required"},
		{"no name", func(r *registration) { r.Name = "" }, "name: is required"},
		{"no version", func(r *registration) { r.Version = "" }, `version: "" is not a semantic version`},
		{"version of two numbers", func(r *registration) { r.Version = "1.0" }, `version: "1.0"`},
		{"version with a v", func(r *registration) { r.Version = "v1.0.0" }, `version: "v1.0.0"`},
		{"version with a leading zero", func(r *registration) { r.Version = "1.02.0" }, `version: "1.02.0"`},
		{"version with an empty pre-release", func(r *registration) { r.Version = "1.0.0-" }, `version: "1.0.0-"`},

		{"no endpoint", func(r *registration) { r.Endpoints = nil }, "endpoints: at least one"},
		{"endpoint without name", func(r *registration) { r.Endpoints[0].Name = "" }, "endpoints[0].name: is required"},
		{"endpoint of another type", func(r *registration) { r.Endpoints[0].Type = "https" }, `endpoints[0].type: "https" is none of http, kafka`},
		{"endpoint with an unknown status", func(r *registration) { r.Endpoints[0].Status = "on" }, `endpoints[0].status: "on"`},
		{"endpoint without host", func(r *registration) { r.Endpoints[0].Host = "" }, `endpoints[0].host: ""`},
		{"endpoint with a whole address", func(r *registration) { r.Endpoints[0].Host = "http://mediator" }, `endpoints[0].host: "http://mediator"`},
		{"endpoint without port", func(r *registration) { r.Endpoints[0].Port = 0 }, "endpoints[0].port: 0"},
		{"endpoint with a port too high", func(r *registration) { r.Endpoints[0].Port = 65536 }, "endpoints[0].port: 65536"},
		{"endpoint with path and transform", func(r *registration) { r.Endpoints[0].PathTransform = "s/a/b" }, "endpoints[0].pathTransform: cannot stand beside a path"},

		{"channel without name", channel(func(c *openhim.Channel) { c.Name = "" }), "defaultChannelConfig[0].name: is required"},
		{"two channels of one name", func(r *registration) { r.DefaultChannels = append(r.DefaultChannels, r.DefaultChannels[0]) }, `defaultChannelConfig[1].name: "c" stands twice`},
		{"channel without pattern", channel(func(c *openhim.Channel) { c.URLPattern = "" }), `defaultChannelConfig[0].urlPattern: ""`},
		{"channel with a broken pattern", channel(func(c *openhim.Channel) { c.URLPattern = "^/(" }), `defaultChannelConfig[0].urlPattern: "^/("`},
		{"polling channel", channel(func(c *openhim.Channel) { c.Type = "polling" }), `defaultChannelConfig[0].type: "polling"`},
		{"channel without methods", channel(func(c *openhim.Channel) { c.Methods = nil }), "defaultChannelConfig[0].methods: at least one"},
		{"channel with an unknown method", channel(func(c *openhim.Channel) { c.Methods = []string{"FETCH"} }), `defaultChannelConfig[0].methods[0]: "FETCH" is none of`},
		{"channel with a method twice", channel(func(c *openhim.Channel) { c.Methods = []string{"GET", "GET"} }), `defaultChannelConfig[0].methods[1]: "GET"`},
		{"channel with unknown authentication", channel(func(c *openhim.Channel) { c.AuthType = "basic" }), `defaultChannelConfig[0].authType: "basic"`},
		{"channel with an unknown status", channel(func(c *openhim.Channel) { c.Status = "paused" }), `defaultChannelConfig[0].status: "paused"`},
		{"channel without routes", channel(func(c *openhim.Channel) { c.Routes = nil }), "defaultChannelConfig[0].routes: 0 enabled primary routes"},
		{"channel without primary route", channel(func(c *openhim.Channel) { c.Routes[0].Primary = false }), "defaultChannelConfig[0].routes: 0 enabled primary routes"},
		{"channel with two primary routes", channel(func(c *openhim.Channel) { c.Routes[1].Status = "" }), "defaultChannelConfig[0].routes: 2 enabled primary routes"},
		{"route without name", channel(func(c *openhim.Channel) { c.Routes[1].Name = "" }), "defaultChannelConfig[0].routes[1].name: is required"},
		{"route with path and transform", channel(func(c *openhim.Channel) { c.Routes[0].Path = "/a" }), "defaultChannelConfig[0].routes[0].pathTransform: cannot stand beside a path"},
		{"route with a broken transform", channel(func(c *openhim.Channel) { c.Routes[0].PathTransform = "/a/b" }), `defaultChannelConfig[0].routes[0].pathTransform: "/a/b"`},
		{"channel that keeps no request", channel(func(c *openhim.Channel) { c.RequestBody = false }), "defaultChannelConfig[0].requestBody: must be true"},
		{"bodies that expire but are not kept", channel(func(c *openhim.Channel) { c.RequestBody, c.ResponseBody = false, false }), "defaultChannelConfig[0].maxBodyAgeDays: needs requestBody"},
		{"bodies that expire at once", channel(func(c *openhim.Channel) { c.MaxBodyAgeDays = number(0) }), "defaultChannelConfig[0].maxBodyAgeDays: 0"},
		{"channel without time", channel(func(c *openhim.Channel) { c.Timeout = number(0) }), "defaultChannelConfig[0].timeout: 0"},
		{"channel with too much time", channel(func(c *openhim.Channel) { c.Timeout = number(3_600_001) }), "defaultChannelConfig[0].timeout: 3600001"},
		{"channel before the first", channel(func(c *openhim.Channel) { c.Priority = number(0) }), "defaultChannelConfig[0].priority: 0"},
		{"retry without a pause", channel(func(c *openhim.Channel) { c.AutoRetryMinutes = number(0) }), "defaultChannelConfig[0].autoRetryPeriodMinutes: 0"},
		{"retry less than never", channel(func(c *openhim.Channel) { c.AutoRetryMax = -1 }), "defaultChannelConfig[0].autoRetryMaxAttempts: -1"},

		{"definition without name", func(r *registration) { r.ConfigDefs[0].Param = "" }, "configDefs[0].param: is required"},
		{"definition twice", func(r *registration) { r.ConfigDefs[1].Param = "text" }, `configDefs[1].param: "text" stands twice`},
		{"definition without type", func(r *registration) { r.ConfigDefs[0].Type = "" }, `configDefs[0].type: is required for "text"`},
		{"definition of an unknown type", func(r *registration) { r.ConfigDefs[0].Type = "datetime" }, `configDefs[0].type: "datetime"`},
		{"option without values", func(r *registration) { r.ConfigDefs[6].Values = nil }, `configDefs[6].values: option "source"`},
		{"struct without template", func(r *registration) { r.ConfigDefs[8].Template = nil }, `configDefs[8].template: struct "one"`},
		{"field without name", func(r *registration) { r.ConfigDefs[8].Template[0].Param = "" }, "configDefs[8].template[0].param: is required"},
		{"field without type", func(r *registration) { r.ConfigDefs[8].Template[0].Type = "" }, `configDefs[8].template[0].type: is required for "id"`},
		{"field twice", func(r *registration) { r.ConfigDefs[8].Template[1].Param = "id" }, `configDefs[8].template[1].param: "id" stands twice`},
		{"option without values in a struct", func(r *registration) { r.ConfigDefs[9].Template[1].Values = nil }, `configDefs[9].template[1].values: option "source"`},
		{"struct in a struct", func(r *registration) { r.ConfigDefs[8].Template[0].Type = "struct" }, `configDefs[8].template[0].type: struct "one" cannot hold struct "id"`},
		{"password in an array of structs", func(r *registration) { r.ConfigDefs[8].Array = true }, `configDefs[8].template[1].type: password "secret"`},

		{"definition without default", func(r *registration) { delete(r.Config, "days") }, "config.days: has no default"},
		{"no defaults at all", func(r *registration) { r.Config = nil }, "config.many: has no default"},
		{"default without definition", func(r *registration) { r.Config["old"] = "x" }, "config.old: has no definition"},
		{"null for a string", func(r *registration) { r.Config["text"] = nil }, "config.text: must be of type string"},
		{"number for a password", func(r *registration) { r.Config["secret"] = 1.0 }, "config.secret: must be of type password"},
		{"string for a number", func(r *registration) { r.Config["days"] = "5" }, "config.days: must be of type number"},
		{"string for a bool", func(r *registration) { r.Config["enabled"] = "true" }, "config.enabled: must be of type bool"},
		{"option not among the values", func(r *registration) { r.Config["source"] = "both" }, `config.source: "both" is none of export, targets`},
		{"number for an option", func(r *registration) { r.Config["source"] = 1.0 }, "config.source: must be of type option"},
		{"list for a map", func(r *registration) { r.Config["names"] = []any{} }, "config.names: must be of type map"},
		{"number in a map", func(r *registration) { r.Config["names"] = map[string]any{"a": 1.0} }, "config.names: must be of type map"},
		{"string for an array", func(r *registration) { r.Config["tags"] = "a" }, "config.tags: must be an array of type string"},
		{"number in an array of strings", func(r *registration) { r.Config["tags"] = []any{"a", 2.0} }, "config.tags[1]: must be of type string"},
		{"string for a struct", func(r *registration) { r.Config["one"] = "x" }, "config.one: must be of type struct"},
		{"unknown field in a struct", func(r *registration) { r.Config["one"] = map[string]any{"url": "x"} }, `config.one.url: is no field of struct "one"`},
		{"wrong type in a struct", func(r *registration) { r.Config["many"] = []any{map[string]any{}, map[string]any{"id": 1.0}} }, "config.many[1].id: must be of type string"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := parse(t, []byte(everything))
			test.make(&r)
			err := r.Check()
			if err == nil || !strings.Contains("\n"+err.Error(), "\n"+test.want) {
				t.Errorf("got error %v, want a line that begins with %q", err, test.want)
			}
		})
	}
}

func TestCheckTellsAllFaultsAtOnce(t *testing.T) {
	r := parse(t, []byte(everything))
	r.URN, r.Version, r.Config["days"] = "", "one", "five"
	err := r.Check()
	if err == nil {
		t.Fatal("no error")
	}
	want := "urn: is required\n" +
		"version: \"one\" is not a semantic version such as 1.4.0\n" +
		"config.days: must be of type number"
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
}

// FuzzParseRegistration holds that whatever is accepted can be checked, and is the same after a round trip.
func FuzzParseRegistration(f *testing.F) {
	f.Add(document(f))
	f.Add([]byte(everything))
	f.Add([]byte(`{"configDefs":[{"param":"a","type":"struct","template":[{"type":"struct"}]}],"config":{"a":[null]}}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		first, err := openhim.ParseRegistration(document)
		if err != nil {
			return
		}
		_ = first.Check()
		text, err := json.Marshal(first.Fill("1.0.0", "mediator", 8070))
		if err != nil {
			t.Fatalf("%+v: %v", first, err)
		}
		second, err := openhim.ParseRegistration(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		again, err := json.Marshal(second)
		if err != nil || string(again) != string(text) {
			t.Errorf("became %s, want %s (%v)", again, text, err)
		}
	})
}
