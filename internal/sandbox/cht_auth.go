package sandbox

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The limit on failed logins, of CHT 4.6.0 and later: ten within a window of ten seconds.
const (
	failedLogins      = 10
	failedLoginWindow = 10 * time.Second
)

// access holds who is logged in and who is kept out. It may be used by many goroutines only under its owner's lock.
type access struct {
	// sessions gives the user name of a session.
	sessions map[string]string
	failures map[string]loginFailures
}

// loginFailures counts the failures of one address, user name or password since the beginning of its window.
type loginFailures struct {
	since time.Time
	count int
}

// loginKeys gives under what a request with Basic credentials is counted, nothing for any other.
func loginKeys(r *http.Request) []string {
	name, password, ok := r.BasicAuth()
	if !ok {
		return nil
	}
	address, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		address = r.RemoteAddr
	}
	return []string{"address " + address, "user " + name, "password " + password}
}

// limited tells whether one of the keys has failed too often.
func (a *access) limited(keys []string, now time.Time) bool {
	return slices.ContainsFunc(keys, func(key string) bool {
		failed := a.failures[key]
		return failed.count >= failedLogins && now.Before(failed.since.Add(failedLoginWindow))
	})
}

// failed counts a failure. The window begins with the first one.
func (a *access) failed(keys []string, now time.Time) {
	for _, key := range keys {
		failed := a.failures[key]
		if !now.Before(failed.since.Add(failedLoginWindow)) {
			failed = loginFailures{since: now}
		}
		failed.count++
		a.failures[key] = failed
	}
}

// login gives the user of a request, nil when it names none or the credentials are wrong.
func (c *CHT) login(r *http.Request) *CHTUser {
	if name, password, ok := r.BasicAuth(); ok {
		return c.userWith(name, password)
	}
	cookie, err := r.Cookie("AuthSession")
	if err != nil {
		return nil
	}
	name, there := c.access.sessions[cookie.Value]
	if !there {
		return nil
	}
	return c.user(name)
}

// user gives the account of that name.
func (c *CHT) user(name string) *CHTUser {
	users := c.documents.Users
	at := slices.IndexFunc(users, func(u CHTUser) bool { return u.Name == name })
	if at < 0 {
		return nil
	}
	return &users[at]
}

// userWith gives the account of that name when the password is its own.
func (c *CHT) userWith(name, password string) *CHTUser {
	user := c.user(name)
	if user == nil || user.Password != password {
		return nil
	}
	return user
}

// online tells whether the user is allowed to call the server at all, beyond what a phone does.
func online(user *CHTUser) bool {
	return slices.Contains(user.Roles, "_admin") || slices.Contains(user.Roles, "mm-online")
}

// may tells whether the user has the permission. From 5.2.0 on a role that the settings do not list grants nothing.
func (c *CHT) may(user *CHTUser, permission string) bool {
	if slices.Contains(user.Roles, "_admin") {
		return true
	}
	settings := &c.documents.Settings
	return slices.ContainsFunc(user.Roles, func(role string) bool {
		_, listed := settings.Roles[role]
		return slices.Contains(settings.Permissions[permission], role) && (listed || c.before(5, 2))
	})
}

// before tells whether this CHT is older than the version.
func (c *CHT) before(major, minor int) bool {
	first, rest, _ := strings.Cut(c.version, ".")
	second, _, _ := strings.Cut(rest, ".")
	a, errA := strconv.Atoi(first)
	b, errB := strconv.Atoi(second)
	if errA != nil || errB != nil {
		return false
	}
	return a < major || a == major && b < minor
}

// serveSession logs in with a name and a password, as JSON or as a form, and gives a cookie.
func (c *CHT) serveSession(w http.ResponseWriter, r *http.Request) {
	name, password, err := sessionCredentials(r)
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		send(w, r, http.StatusBadRequest, []byte(`{"error":"bad_request","reason":"invalid UTF-8 JSON"}`))
		return
	}
	token, roles, ok := c.openSession(name, password)
	if !ok {
		send(w, r, http.StatusUnauthorized, []byte(`{"error":"unauthorized","reason":"Name or password is incorrect."}`))
		return
	}
	w.Header().Set("Set-Cookie", "AuthSession="+token+"; Path=/; HttpOnly")
	w.Header().Set("WWW-Authenticate", "Cookie")
	account := marshal(struct {
		OK    bool     `json:"ok"`
		Name  string   `json:"name"`
		Roles []string `json:"roles"`
	}{true, name, roles})
	body := newCHTBody(append(account, '\n'))
	w.Header().Set("ETag", body.etag)
	send(w, r, http.StatusOK, body.plain)
}

// openSession gives the session's id and the user's roles, or says no.
func (c *CHT) openSession(name, password string) (token string, roles []string, ok bool) {
	c.state.Lock()
	defer c.state.Unlock()
	user := c.userWith(name, password)
	if user == nil {
		return "", nil, false
	}
	token = base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%s:%X:%s", name, c.now().Unix(), rand.Text()))
	c.access.sessions[token] = name
	return token, slices.Clone(user.Roles), true
}

// sessionCredentials reads the name and the password from the body.
func sessionCredentials(r *http.Request) (name, password string, err error) {
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		return r.PostFormValue("name"), r.PostFormValue("password"), nil
	}
	var credentials struct{ Name, Password string }
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return "", "", err
	}
	err = json.Unmarshal(body, &credentials)
	return credentials.Name, credentials.Password, err
}
