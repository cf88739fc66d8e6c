package handlers

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"
)

// Caller may call the door with a user name and a password (all that a route of OpenHIM can send), with a token, or with
// either. Several may have one name or one user name, so that a secret is changed without a gap.
type Caller struct {
	Name, Username string
	// Password and Token give the secrets; nil is for who has none. They are asked at each call, so that a file which
	// holds one may change. An empty secret lets nobody in.
	Password, Token func() (string, error)
	// MaySeeWorkers lets it ask who has not synced, by name.
	MaySeeWorkers bool
}

// callerKey is where the name of who calls is kept for the life of a request.
const callerKey = "caller"

// workersKey is where it is kept whether the caller may see the names of workers.
const workersKey = "may see workers"

// nobodyKnown is who calls when the door is open and no credential was given.
const nobodyKnown = "unknown caller (open access)"

// letIn lets callers in, and everybody when open.
func (d *door) letIn(callers []Caller, open bool) gin.HandlerFunc {
	return func(c *gin.Context) {
		who, known := d.recognise(c.Request, callers)
		switch {
		case known:
			c.Set(callerKey, who.Name)
			c.Set(workersKey, who.MaySeeWorkers)
		case open:
			c.Set(callerKey, nobodyKnown)
		case len(callers) == 0:
			_ = c.Error(closed)
			c.Abort()
		default:
			c.Writer.Header()["Www-Authenticate"] = []string{`Basic realm="cht-dhis2", charset="UTF-8"`, `Bearer realm="cht-dhis2"`}
			_ = c.Error(unauthorized)
			c.Abort()
		}
	}
}

// letInForMetrics lets in who may read the metrics.
func (d *door) letInForMetrics() gin.HandlerFunc {
	if d.MetricsCaller == nil {
		return d.letIn(d.Callers, d.Open)
	}
	return d.letIn([]Caller{*d.MetricsCaller}, false)
}

// recognise finds the caller whose credential a request carries. It always compares with all of them, and hashes of equal
// length, so that the time which it takes tells nothing of the secrets.
func (d *door) recognise(r *http.Request, callers []Caller) (who Caller, known bool) {
	username, password, isBasic := r.BasicAuth()
	token, isToken := bearer(r)
	for i := range callers {
		one, match := &callers[i], 0
		if isBasic && one.Password != nil {
			match = same(username, one.Username) & d.matches(one, password, one.Password)
		}
		if isToken && one.Token != nil {
			match = d.matches(one, token, one.Token)
		}
		if match == 1 && !known {
			who, known = *one, true
		}
	}
	return who, known
}

// bearer is the token of an Authorization header.
func bearer(r *http.Request) (token string, is bool) {
	scheme, token, is := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.TrimSpace(token), is && (strings.EqualFold(scheme, "Bearer") || strings.EqualFold(scheme, "Token"))
}

// matches says with 1 that a secret is the right one.
func (d *door) matches(of *Caller, given string, secret func() (string, error)) int {
	right, err := secret()
	d.noteSecret(of, err)
	if err != nil || right == "" {
		return 0
	}
	return same(given, right)
}

func same(given, right string) int {
	a, b := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(right))
	return subtle.ConstantTimeCompare(a[:], b[:])
}

// noteSecret logs a secret that cannot be read, once until that changes.
func (d *door) noteSecret(of *Caller, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	d.mu.Lock()
	before := d.unreadable[of]
	d.unreadable[of] = text
	d.mu.Unlock()
	if text != "" && text != before {
		d.Log.WithField("caller", of.Name).WithError(err).Error("the secret of a caller cannot be read; it lets nobody in")
	}
}
