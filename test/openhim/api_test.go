package openhim_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// call asks OpenHIM's API for something as its console does, and holds the answer to the status wanted. It signs by
// itself, so that the mediator's own login is tried against the core and not against this.
func (c *core) call(t *testing.T, method, path string, body any, want int) []byte {
	t.Helper()
	status, answer := c.send(t, method, path, body)
	if status != want {
		t.Fatalf("%s %s: got %d %s, want %d", method, path, status, answer, want)
	}
	return answer
}

func (c *core) send(t *testing.T, method, path string, body any) (int, []byte) {
	t.Helper()
	content, isText := body.([]byte)
	if !isText && body != nil {
		var err error
		if content, err = json.Marshal(body); err != nil {
			t.Fatal(err)
		}
	}
	request, err := http.NewRequestWithContext(t.Context(), method, c.api+path, bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	if content != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	ts, once := time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), rand.Text()
	request.Header.Set("auth-username", rootUser)
	request.Header.Set("auth-ts", ts)
	request.Header.Set("auth-salt", once)
	request.Header.Set("auth-token", sha(sha(c.salt(t.Context())+rootPassword)+once+ts))
	status, answer, err := c.do(request)
	if err != nil {
		t.Fatal(err)
	}
	return status, answer
}

func (c *core) do(request *http.Request) (int, []byte, error) {
	response, err := c.client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	return response.StatusCode, answer, err
}

// salt is the account's, or empty while OpenHIM does not give it.
func (c *core) salt(ctx context.Context) string {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.api+"/authenticate/"+rootUser, nil)
	if err != nil {
		return ""
	}
	_, answer, err := c.do(request)
	var given struct{ Salt string }
	if err != nil || json.Unmarshal(answer, &given) != nil {
		return ""
	}
	return given.Salt
}

func sha(text string) string {
	sum := sha512.Sum512([]byte(text))
	return hex.EncodeToString(sum[:])
}

// get reads something from the API.
func get[T any](t *testing.T, c *core, path string) T {
	t.Helper()
	var value T
	answer := c.call(t, http.MethodGet, path, nil, http.StatusOK)
	if err := json.Unmarshal(answer, &value); err != nil {
		t.Fatalf("GET %s: %v in %.300s", path, err, answer)
	}
	return value
}

// mediator is what OpenHIM knows of a mediator.
type mediator struct {
	URN           string         `json:"urn"`
	Version       string         `json:"version"`
	Config        map[string]any `json:"config"`
	LastHeartbeat time.Time      `json:"_lastHeartbeat"`
	Uptime        float64        `json:"_uptime"`
}

// mediator looks a mediator up as the console does; nil where there is none.
func (c *core) mediator(t *testing.T, urn string) *mediator {
	t.Helper()
	for _, m := range get[[]mediator](t, c, "/mediators") {
		if m.URN == urn {
			return &m
		}
	}
	return nil
}

// configure sets what the mediator is to do, as the console's form does.
func (c *core) configure(t *testing.T, urn string, config map[string]any) {
	t.Helper()
	c.call(t, http.MethodPut, "/mediators/"+url.PathEscape(urn)+"/config", config, http.StatusOK)
}

// transaction is what OpenHIM has stored of one message.
type transaction struct {
	ID        string `json:"_id"`
	Status    string `json:"status"`
	ChannelID string `json:"channelID"`
	ParentID  string `json:"parentID"`
	Request   struct {
		Method, Path, Body string
	} `json:"request"`
	Response struct {
		Status int
		Body   string
	} `json:"response"`
	Orchestrations []struct {
		Name    string
		Request struct {
			Method, Path string
		}
		Response struct{ Status int }
	} `json:"orchestrations"`
	Properties map[string]any `json:"properties"`
	Error      *struct{ Message string }
}

// names are those of the orchestrations, in their order.
func (t transaction) names() []string {
	var names []string
	for _, o := range t.Orchestrations {
		names = append(names, o.Name)
	}
	return names
}

// transaction reads one transaction with everything.
func (c *core) transaction(t *testing.T, id string) transaction {
	t.Helper()
	return get[transaction](t, c, "/transactions/"+id)
}

// transactions lists those that match, newest first.
func (c *core) transactions(t *testing.T, filters map[string]any) []transaction {
	t.Helper()
	text, err := json.Marshal(filters)
	if err != nil {
		t.Fatal(err)
	}
	return get[[]transaction](t, c, "/transactions?filterLimit=50&filterPage=0&filterRepresentation=full&filters="+url.QueryEscape(string(text)))
}

// channelID finds a channel by its name; empty where there is none.
func (c *core) channelID(t *testing.T, name string) string {
	t.Helper()
	for _, channel := range get[[]struct {
		ID   string `json:"_id"`
		Name string
	}](t, c, "/channels") {
		if channel.Name == name {
			return channel.ID
		}
	}
	return ""
}

// setPassword gives a client its password for the router, as the console does: it makes the hash itself.
func (c *core) setPassword(t *testing.T, as login) {
	t.Helper()
	for _, client := range get[[]struct {
		ID       string `json:"_id"`
		ClientID string `json:"clientID"`
	}](t, c, "/clients") {
		if client.ClientID == as.user {
			c.call(t, http.MethodPut, "/clients/"+client.ID, map[string]any{
				"passwordAlgorithm": "sha512", "passwordSalt": "a salt", "passwordHash": sha(as.password + "a salt"),
			}, http.StatusOK)
			return
		}
	}
	t.Fatalf("OpenHIM has no client %s", as.user)
}

// runAgain lets OpenHIM run a transaction again, as the button of the console does.
func (c *core) runAgain(t *testing.T, id string) {
	t.Helper()
	c.call(t, http.MethodPost, "/tasks", map[string]any{"tids": []string{id}, "batchSize": 1, "paused": false}, http.StatusCreated)
}

// poll lets the polling channel poll every second, and gives the channel's id.
func (c *core) poll(t *testing.T) string {
	t.Helper()
	channel := c.channelID(t, pollingName)
	c.call(t, http.MethodPut, "/channels/"+channel, map[string]any{"pollingSchedule": "1 second"}, http.StatusOK)
	return channel
}

func (c *core) pollNoMore(t *testing.T, channel string) {
	t.Helper()
	c.call(t, http.MethodPut, "/channels/"+channel, map[string]any{"status": "disabled"}, http.StatusOK)
}

// answered is what a client of the router gets.
type answered struct {
	status      int
	transaction string
	body        string
}

// login is with what a client comes; the zero value comes with nothing.
type login struct{ user, password string }

// ask sends a request through the router.
func (c *core) ask(t *testing.T, as login, method, path, body string) answered {
	t.Helper()
	return c.askAt(t, as, method, c.router+path, body)
}

func (c *core) askAt(t *testing.T, as login, method, address, body string) answered {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	if as != (login{}) {
		request.SetBasicAuth(as.user, as.password)
	}
	response, err := c.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answered{status: response.StatusCode, transaction: response.Header.Get("X-OpenHIM-TransactionID"), body: string(text)}
}
