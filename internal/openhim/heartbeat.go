package openhim

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Register makes the mediator known. OpenHIM ignores it, and says nothing, when it knows this version or a newer one.
func (c *Client) Register(ctx context.Context, r Registration) error {
	doing := fmt.Sprintf("register %s %s with OpenHIM", r.URN, r.Version)
	a, err := c.do(ctx, call{doing: doing, method: http.MethodPost, path: "/mediators", body: r})
	if err != nil {
		return err
	}
	if a.status != http.StatusCreated {
		return statusError(doing, a)
	}
	return nil
}

// Heartbeat tells OpenHIM that the mediator lives, and brings the configuration that was set in the console: a JSON
// object, nil where OpenHIM has none. It is asked for each time, as OpenHIM by itself tells a change only once, whether
// its answer arrives or not. The error is ErrForgotten when the mediator has to register.
func (c *Client) Heartbeat(ctx context.Context, urn string, uptime time.Duration) (json.RawMessage, error) {
	doing := fmt.Sprintf("send OpenHIM the heartbeat of %s", urn)
	a, err := c.do(ctx, call{
		doing: doing, method: http.MethodPost, path: mediatorPath(urn, "heartbeat"),
		body: struct {
			Uptime float64 `json:"uptime"`
			Config bool    `json:"config"`
		}{uptime.Seconds(), true},
	})
	switch {
	case err != nil:
		return nil, err
	case a.status == http.StatusNotFound:
		return nil, fmt.Errorf("%s: %w", doing, ErrForgotten)
	case a.status != http.StatusOK:
		return nil, statusError(doing, a)
	case a.isPage():
		return nil, pageError(doing, a)
	case !a.isJSON(): // no configuration at all is told as the text "OK"
		return nil, nil
	}
	var config map[string]json.RawMessage
	if err := decode(a, &config); err != nil {
		return nil, under(doing, err)
	}
	return a.body, nil
}

// Life is what OpenHIM knows of the life of a mediator.
type Life struct {
	// Heartbeat is when the last heartbeat came, by OpenHIM's clock; zero where none ever did.
	Heartbeat time.Time
	// Began is when the process that sent it says that it began.
	Began time.Time
}

// Life asks what OpenHIM knows of the life of a mediator; nothing where it does not know the mediator.
func (c *Client) Life(ctx context.Context, urn string) (Life, error) {
	doing := fmt.Sprintf("ask OpenHIM for %s", urn)
	a, err := c.do(ctx, call{doing: doing, method: http.MethodGet, path: strings.TrimSuffix(mediatorPath(urn, ""), "/")})
	switch {
	case err != nil:
		return Life{}, err
	case a.status == http.StatusNotFound:
		return Life{}, nil
	case a.status != http.StatusOK:
		return Life{}, statusError(doing, a)
	}
	var found struct {
		Heartbeat time.Time `json:"_lastHeartbeat"`
		Uptime    float64   `json:"_uptime"`
	}
	if err := decode(a, &found); err != nil {
		return Life{}, under(doing, err)
	}
	if found.Heartbeat.IsZero() {
		return Life{}, nil
	}
	return Life{found.Heartbeat, found.Heartbeat.Add(-time.Duration(found.Uptime * float64(time.Second)))}, nil
}

// InstallChannels installs default channels of the mediator by their names, each on its own. A channel that is there
// already is left as it is, as people may have changed it.
func (c *Client) InstallChannels(ctx context.Context, urn string, names ...string) error {
	for _, name := range slices.Compact(slices.Clone(names)) {
		doing := fmt.Sprintf("install channel %q in OpenHIM", name)
		a, err := c.do(ctx, call{doing: doing, method: http.MethodPost, path: mediatorPath(urn, "channels"), body: []string{name}})
		switch {
		case err != nil:
			return err
		case a.status == http.StatusCreated, isDuplicate(a):
		case a.status == http.StatusNotFound:
			return fmt.Errorf("%s: %w", doing, ErrForgotten)
		default:
			return statusError(doing, a)
		}
	}
	return nil
}

// mediatorPath is the path of something of a mediator's. A URN has colons, which are encoded.
func mediatorPath(urn, of string) string {
	return "/mediators/" + strings.ReplaceAll(url.PathEscape(urn), ":", "%3A") + "/" + of
}
