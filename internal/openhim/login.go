package openhim

import (
	"context"
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// Account is that with which the mediator calls OpenHIM's API.
type Account struct {
	// Username is the e-mail address of the account, as OpenHIM spells it.
	Username string
	// Password gives the password; it is asked at every call, so that a secret kept in a file may change.
	Password func() (string, error)
	// Now is the clock with which tokens are signed; nil means time.Now.
	Now func() time.Time
}

// clockTolerance is how far the clock of a token may be from OpenHIM's.
const clockTolerance = 10 * time.Second

// login signs calls. It begins with Basic, which cores from 5.1 on know, and which is on by default from 8 on. Where
// that is refused and the account has a salt, it goes on with the token scheme, the only one that older cores know.
type login struct {
	Account

	mu sync.Mutex
	// token says that the token scheme is in use, with the account's salt. skew is how far OpenHIM's clock was ahead of
	// ours when it gave the salt.
	token bool
	salt  string
	skew  time.Duration
}

// sign gives the headers of the next call.
func (l *login) sign() (http.Header, error) {
	password, err := l.Password()
	if err != nil {
		return nil, &Error{Kind: Credentials, What: "read the password: " + err.Error(), Remedy: "check the file of the secret in the configuration"}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.token {
		return l.signToken(password), nil
	}
	basic := base64.StdEncoding.EncodeToString([]byte(l.Username + ":" + password))
	return http.Header{"Authorization": {"Basic " + basic}}, nil
}

// signToken signs with the password's hash, the account's salt, a salt of this call and the time.
func (l *login) signToken(password string) http.Header {
	ts := l.now().UTC().Format(timeForm)
	once := rand.Text()
	secret := hash(hash(l.salt+password) + once + ts)
	return http.Header{"Auth-Username": {l.Username}, "Auth-Ts": {ts}, "Auth-Salt": {once}, "Auth-Token": {secret}}
}

// hash is SHA-512 in hexadecimal digits.
func hash(text string) string {
	sum := sha512.Sum512([]byte(text))
	return hex.EncodeToString(sum[:])
}

func (l *login) now() time.Time {
	if l.Now == nil {
		return time.Now()
	}
	return l.Now()
}

// improve asks for the account's salt and for OpenHIM's clock after a call was refused, and says whether a token is worth
// a try now. An account without a salt, such as one made in 8.x, is no error: it has Basic only.
func (l *login) improve(ctx context.Context, c *Client) (bool, error) {
	if l.Username == "" {
		return false, nil
	}
	a, err := c.trip(ctx, call{method: http.MethodGet, path: "/authenticate/" + url.PathEscape(l.Username)}, nil, nil)
	if err != nil {
		return false, err
	}
	var given struct {
		Salt string    `json:"salt"`
		TS   time.Time `json:"ts"`
	}
	if a.status != http.StatusOK || !a.isJSON() || json.Unmarshal(a.body, &given) != nil || given.Salt == "" {
		return false, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.token, l.salt, l.skew = true, given.Salt, given.TS.Sub(l.now())
	return true, nil
}

// refusal tells a 401, and goes back to Basic for the next call: OpenHIM may have become a newer one meanwhile.
func (l *login) refusal(doing string, a answer) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := statusError(doing, a)
	if l.token && l.skew.Abs() > clockTolerance {
		ahead := "behind"
		if l.skew < 0 {
			ahead = "ahead of"
		}
		e.What += fmt.Sprintf("; the clock here is %s %s OpenHIM's", l.skew.Abs().Round(time.Second), ahead)
		e.Remedy = fmt.Sprintf("set both clocks (NTP): this OpenHIM refuses tokens that are more than %s off; %s", clockTolerance, e.Remedy)
	}
	l.token = false
	return e
}
