package sandbox

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"time"
)

// dhis2Token is a personal access token.
type dhis2Token struct {
	id      string
	owner   *DHIS2User
	created time.Time
	// deleted tokens are remembered: their form is right, unlike that of a token which never was.
	deleted bool
}

// loginPath is where a browser without credentials is sent.
func (d *DHIS2) loginPath() string {
	switch {
	case d.version.old():
		return "/dhis-web-commons/security/login.action"
	case d.version.legacy():
		return "/dhis-web-login/"
	}
	return "/login/"
}

// login gives the user who asks. It answers by itself, and gives nil, when there is none.
func (d *DHIS2) login(w http.ResponseWriter, r *http.Request) *DHIS2User {
	header := r.Header.Get("Authorization")
	if token, found := strings.CutPrefix(header, "ApiToken "); found {
		return d.tokenLogin(w, strings.TrimSpace(token))
	}
	if header == "" && r.Header.Get("X-Requested-With") != "XMLHttpRequest" {
		w.Header().Set("Location", "http://"+r.Host+d.loginPath())
		w.WriteHeader(http.StatusFound)
		return nil
	}
	name, password, _ := r.BasicAuth()
	message := "Unauthorized"
	if d.isLocked(name) {
		message = "Account locked"
	}
	for _, user := range d.users {
		if name != "" && user.Username == name && user.Password == password && message == "Unauthorized" {
			return user
		}
	}
	d.loginFailed(name)
	d.writeJSON(w, http.StatusUnauthorized, dhis2Failure(http.StatusUnauthorized, "", message))
	return nil
}

// dhis2Logins are those of a user name that count together, and when the last one was.
type dhis2Logins struct {
	count int
	last  time.Time
}

const (
	lockingLogins = 4
	lockedFor     = 15 * time.Minute
)

func (d *DHIS2) isLocked(name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.logins[name]
	return f.count >= lockingLogins && d.now().Sub(f.last) < lockedFor
}

func (d *DHIS2) loginFailed(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.logins == nil {
		return
	}
	f := d.logins[name]
	if d.now().Sub(f.last) >= lockedFor {
		f = dhis2Logins{}
	}
	f.count, f.last = f.count+1, d.now()
	d.logins[name] = f
	if f.count == lockingLogins {
		d.lockOuts++
	}
}

// tokenLogin gives the owner of a token.
func (d *DHIS2) tokenLogin(w http.ResponseWriter, key string) *DHIS2User {
	d.mu.Lock()
	token, known := d.tokens[key]
	valid := known && !token.deleted
	d.mu.Unlock()
	if valid {
		return token.owner
	}
	status, message := http.StatusBadRequest, "Checksum validation failed"
	if known || d.version.old() {
		status, message = http.StatusUnauthorized, "The API token does not exists"
	}
	w.Header().Set("WWW-Authenticate", "ApiToken")
	d.writeJSON(w, status, dhis2Failure(status, "", message))
	return nil
}

// createToken makes a token of the user's.
func (d *DHIS2) createToken(w http.ResponseWriter, r *http.Request, user *DHIS2User) {
	seed := user.Username + d.now().String() + string(rune('a'+len(d.tokens)))
	key := "d2p_" + dhis2UID(seed) + dhis2UID(seed+"1") + dhis2UID(seed+"2") + dhis2UID(seed+"3")
	token := &dhis2Token{id: dhis2UID(key), owner: user, created: d.now()}
	d.tokens[key] = token
	w.Header().Set("Location", "http://"+r.Host+"/api/apiToken/"+token.id)
	d.writeToken(w, http.StatusCreated, token, key)
}

// deleteToken deletes a token of the user's.
func (d *DHIS2) deleteToken(w http.ResponseWriter, id string, user *DHIS2User) {
	for _, token := range d.tokens {
		if token.id == id && token.owner == user && !token.deleted {
			token.deleted = true
			d.writeToken(w, http.StatusOK, token, "")
			return
		}
	}
	d.writeFailure(w, http.StatusNotFound, "E1005", "ApiToken with id "+id+" could not be found.")
}

// writeToken answers what became of a token.
func (d *DHIS2) writeToken(w http.ResponseWriter, status int, token *dhis2Token, key string) {
	response := map[string]any{
		"uid": token.id, "klass": "org.hisp.dhis.security.apikey.ApiToken", "errorReports": []string{}, "responseType": "ObjectReport",
	}
	if key != "" {
		response["key"] = key
	}
	d.writeJSON(w, status, dhis2Envelope{
		HTTPStatus: http.StatusText(status), HTTPStatusCode: status, Status: "OK", Response: response,
	})
}

// tokensOf gives the user's tokens, the oldest first.
func (d *DHIS2) tokensOf(user *DHIS2User) []dhis2Object {
	var own []*dhis2Token
	for _, token := range d.tokens {
		if token.owner == user && !token.deleted {
			own = append(own, token)
		}
	}
	slices.SortFunc(own, func(a, b *dhis2Token) int { return cmp.Or(a.created.Compare(b.created), cmp.Compare(a.id, b.id)) })
	objects := make([]dhis2Object, len(own))
	for i, token := range own {
		objects[i] = dhis2Object{
			{"id", token.id}, {"type", "PERSONAL_ACCESS_TOKEN_V2"}, {"created", dhis2Time(token.created.UTC())},
			{"expire", token.created.AddDate(0, 0, 30).UnixMilli()},
		}
	}
	return objects
}

// serveMe answers who the user is.
func (d *DHIS2) serveMe(w http.ResponseWriter, r *http.Request, user *DHIS2User) {
	units := []dhis2Object{}
	for _, id := range user.OrgUnits {
		if place := d.index.places.byID[id]; place != nil {
			units = append(units, d.placeObject(place))
		}
	}
	sets := []string{}
	for _, set := range d.index.sets.all {
		if user.super() || set.Sharing.dataReadable() {
			sets = append(sets, set.ID)
		}
	}
	d.writeJSON(w, http.StatusOK, dhis2Object{
		{"id", user.ID}, {"username", user.Username}, {"name", user.Name}, {"displayName", user.Name},
		{"authorities", append([]string{}, user.Authorities...)},
		{"organisationUnits", units}, {"dataViewOrganisationUnits", units}, {"dataSets", sets},
	}.choose(parseFields(r.URL.Query().Get("fields"), ":all")))
}
