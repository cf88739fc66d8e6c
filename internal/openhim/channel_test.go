package openhim

import (
	"slices"
	"strings"
	"testing"
)

func TestFaultsOfAChannelThatPeopleChanged(t *testing.T) {
	route := Endpoint{Name: "mediator", Host: "mediator", Port: 8070, Primary: true}
	good := Channel{Name: "CHT to DHIS2", Methods: []string{"GET", "POST"}, Routes: []Endpoint{route}, RequestBody: true, Status: "enabled"}
	for _, tt := range []struct {
		name   string
		change func(*Channel)
		want   string
	}{
		{"as it was installed", func(*Channel) {}, ""},
		{"switched off", func(c *Channel) { c.Status = "disabled" }, "it is disabled"},
		{"without a route", func(c *Channel) { c.Routes = nil }, "no primary route"},
		{"with a route that is switched off", func(c *Channel) { c.Routes = slices.Clone(c.Routes); c.Routes[0].Status = "disabled" }, "no primary route"},
		{"for reading only", func(c *Channel) { c.Methods = []string{"GET"} }, "no POST"},
		{"without bodies", func(c *Channel) { c.RequestBody = false }, "run again"},
	} {
		channel := good
		tt.change(&channel)
		if got := strings.Join(channel.Faults(), "; "); tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q", tt.name, got)
		}
	}
}
