package sandbox

import (
	"cmp"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// openhimWindow is how far the time of a token may be from the server's.
const openhimWindow = 10 * time.Second

// openhimHash is SHA-512 in hexadecimal digits.
func openhimHash(text string) string {
	sum := sha512.Sum512([]byte(text))
	return hex.EncodeToString(sum[:])
}

// login finds the user who asks. It answers by itself, and gives false, when there is none. If there is any header of
// a token, Basic is not tried.
func (c *openhimCall) login() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	header := c.r.Header
	name, password, basic := c.r.BasicAuth()
	switch {
	case header.Get("auth-username")+header.Get("auth-ts")+header.Get("auth-salt")+header.Get("auth-token") != "":
		c.user = c.tokenUser()
	case basic && !c.old:
		user := c.users[name]
		c.filled = user != nil && user.Password == password && password != ""
		if c.filled {
			c.user = user
		}
	default:
		cookie, err := c.r.Cookie("koa.sess")
		if err == nil {
			c.user = c.sessions[cookie.Value]
		}
	}
	if c.user == nil {
		c.text(http.StatusUnauthorized, "Unauthorized")
		return false
	}
	return true
}

// tokenUser gives the user whose token it is, nil when it is none.
func (c *openhimCall) tokenUser() *openhimUser {
	header := c.r.Header
	user := c.users[header.Get("auth-username")]
	if user == nil || user.Salt == "" || user.Password == "" {
		return nil
	}
	at, err := time.Parse(time.RFC3339, header.Get("auth-ts"))
	if err != nil || c.now().Sub(at).Abs() > openhimWindow {
		return nil
	}
	want := openhimHash(openhimHash(user.Salt+user.Password) + header.Get("auth-salt") + header.Get("auth-ts"))
	if header.Get("auth-token") != want {
		return nil
	}
	return user
}

// serveSalt answers the first step of the token scheme.
func (c *openhimCall) serveSalt() {
	user := c.users[c.path[1]]
	switch {
	case user == nil:
		c.text(http.StatusNotFound, "Could not find user by email "+c.path[1])
	case user.Salt == "":
		c.text(http.StatusNotFound, "Could not find token passport for user "+c.path[1])
	default:
		c.json(http.StatusOK, openhimDoc{"salt": user.Salt, "ts": c.timestamp()})
	}
}

// startSession logs a user in with a cookie.
func (c *openhimCall) startSession() {
	body := c.object()
	user := c.users[fmt.Sprint(body["username"])]
	if c.old || user == nil || user.Password == "" || user.Password != body["password"] {
		c.text(http.StatusUnauthorized, "Unauthorized")
		return
	}
	session := c.newID()
	c.sessions[session] = user
	http.SetCookie(c.w, &http.Cookie{Name: "koa.sess", Value: session, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteNoneMode})
	c.json(http.StatusOK, openhimDoc{"result": "User authenticated successfully", "user": user.document()})
}

// document is the user as the API shows it.
func (u *openhimUser) document() openhimDoc {
	first, last, _ := strings.Cut(u.Name, " ")
	return openhimDoc{
		"_id": u.id, "firstname": first, "surname": last, "email": u.Email, "provider": "local", "groups": openhimTexts(u.Groups), "__v": 0,
		"passwordAlgorithm": nil, "passwordHash": nil, "passwordSalt": nil,
	}
}

// openhimPermissions are all permissions; those that end in -specified are lists.
const openhimPermissions = "channel-view-all channel-view-specified channel-manage-all channel-manage-specified client-view-all client-view-specified " +
	"client-manage-all client-manage-specified client-role-view-all client-role-view-specified client-role-manage-all client-role-manage-specified " +
	"transaction-view-all transaction-view-specified transaction-view-body-all transaction-view-body-specified transaction-rerun-all " +
	"transaction-rerun-specified user-view user-manage user-role-view user-role-manage audit-trail-view audit-trail-manage contact-list-view " +
	"contact-list-manage mediator-view-all mediator-view-specified mediator-manage-all mediator-manage-specified certificates-view " +
	"certificates-manage logs-view import-export app-view-all app-view-specified app-manage-all app-manage-specified visualizer-manage visualizer-view"

// openhimRole gives a role with the permissions for which has says so.
func openhimRole(has func(permission string) bool) openhimDoc {
	permissions := openhimDoc{}
	for permission := range strings.FieldsSeq(openhimPermissions) {
		if strings.HasSuffix(permission, "-specified") {
			permissions[permission] = []any{}
		} else {
			permissions[permission] = has(permission)
		}
	}
	return permissions
}

// openhimRoles are the roles that are there from the beginning.
func openhimRoles() map[string]openhimDoc {
	operator := []string{"channel-view-all", "transaction-view-all", "transaction-view-body-all", "transaction-rerun-all"}
	return map[string]openhimDoc{
		"admin":    openhimRole(func(string) bool { return true }),
		"manager":  openhimRole(func(p string) bool { return p != "user-manage" && p != "user-role-manage" }),
		"operator": openhimRole(func(p string) bool { return slices.Contains(operator, p) }),
	}
}

// can says whether the user has one of the permissions, or is allowed the one thing that one of the lists names.
func (c *openhimCall) can(permissions []string, lists []string, one string) bool {
	for _, group := range c.user.Groups {
		if c.old {
			return slices.Contains(c.user.Groups, "admin")
		}
		role := c.roles[group]
		for _, permission := range permissions {
			if role[permission] == true {
				return true
			}
		}
		for _, list := range lists {
			if named, _ := role[list].([]any); slices.Contains(named, any(one)) {
				return true
			}
		}
	}
	return false
}

// allowed answers by itself, and gives false, when the user may not do what is called doing. The permission that is
// named is the first one.
func (c *openhimCall) allowed(doing string, permissions []string, lists []string, one string) bool {
	if c.can(permissions, lists, one) {
		return true
	}
	hasRole := slices.ContainsFunc(c.user.Groups, func(group string) bool { return c.roles[group] != nil })
	switch {
	case c.old:
		c.text(http.StatusForbidden, fmt.Sprintf("User %s is not an admin, API access to %s denied.", c.user.Email, doing))
	case !hasRole:
		c.text(http.StatusForbidden, fmt.Sprintf("User %s does not have an access role specified.", c.user.Email))
	default:
		c.text(http.StatusForbidden, fmt.Sprintf("User %s does not have the %q permission, API access to %s denied.", c.user.Email, permissions[0], doing))
	}
	return false
}

// serveAccount answers for users, roles, clients and contact groups.
func (c *openhimCall) serveAccount(where string) bool {
	switch where {
	case "POST roles":
		c.createRole()
	case "GET roles":
		c.json(http.StatusOK, c.roleDocuments())
	case "POST users":
		c.createUser()
	case "PUT users *":
		c.changeUser()
	case "POST clients":
		c.createClient()
	case "GET clients":
		c.json(http.StatusOK, openhimList(c.clients))
	default:
		return false
	}
	return true
}

func (c *openhimCall) createRole() {
	if !c.allowed("addRole", []string{"user-role-manage"}, nil, "") {
		return
	}
	body := c.object()
	given, _ := body["permissions"].(openhimDoc)
	role := openhimRole(func(string) bool { return false })
	for permission, value := range given {
		role[permission] = value
	}
	c.roles[fmt.Sprint(body["name"])] = role
	c.text(http.StatusCreated, "Role successfully created")
}

// roleDocuments lists the roles of the beginning first.
func (c *openhimCall) roleDocuments() []any {
	names := []string{"admin", "manager", "operator"}
	for name := range c.roles {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names[3:])
	var list []any
	for _, name := range names {
		list = append(list, openhimDoc{"_id": openhimHash("role " + name)[:24], "name": name, "permissions": c.roles[name], "__v": 0})
	}
	return list
}

// createUser makes a user who cannot log in: a password is set by a change only.
func (c *openhimCall) createUser() {
	if !c.allowed("addUser", []string{"user-manage"}, nil, "") {
		return
	}
	body := c.object()
	user := &openhimUser{id: c.newID()}
	user.Email, _ = body["email"].(string)
	user.Name = fmt.Sprint(body["firstname"], " ", body["surname"])
	groups, _ := body["groups"].([]any)
	for _, group := range groups {
		user.Groups = append(user.Groups, fmt.Sprint(group))
	}
	c.users[user.Email] = user
	c.text(http.StatusCreated, "User successfully created")
}

func (c *openhimCall) changeUser() {
	if !c.allowed("updateUser", []string{"user-manage"}, nil, "") {
		return
	}
	user := c.users[c.path[1]]
	if user == nil {
		c.text(http.StatusNotFound, "User not found.")
		return
	}
	if password, is := c.object()["password"].(string); is {
		user.Password = password
	}
	c.text(http.StatusOK, "Successfully updated user.")
}

func (c *openhimCall) createClient() {
	if !c.allowed("addClient", []string{"client-manage-all"}, nil, "") {
		return
	}
	client := openhimWith(c.body, openhimDoc{"roles": []any{}})
	id, _ := client["clientID"].(string)
	roles, _ := client["roles"].([]any)
	switch {
	case slices.Contains(roles, any(id)):
		c.text(http.StatusBadRequest, fmt.Sprintf("ClientID '%s' cannot be the same as a role name.", id))
	case client["name"] == nil:
		c.text(http.StatusBadRequest, "Client validation failed: name: Path `name` is required.")
	case openhimFind(c.clients, "clientID", id) != nil:
		c.text(http.StatusBadRequest, "E11000 duplicate key error collection: openhim.clients")
	default:
		client["_id"], client["__v"] = c.newID(), 0
		c.clients = append(c.clients, client)
		c.text(http.StatusCreated, "Client successfully created")
	}
}

// routerClient gives the client who calls the router, nil when there is none or the password is wrong.
func (o *OpenHIM) routerClient(r *http.Request) openhimDoc {
	id, password, _ := r.BasicAuth()
	client := openhimFind(o.clients, "clientID", id)
	if client == nil || password == "" {
		return nil
	}
	salt, _ := client["passwordSalt"].(string)
	if cmp.Or(client["passwordHash"], any("")) != openhimHash(password+salt) {
		return nil
	}
	return client
}
