package config

import (
	"encoding/hex"
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// completeService finds what is wrong with the settings of the service that stand at the top.
func (c *Config) completeService(mistakes *Error) {
	checkListen("listen", c.Listen, mistakes)
	if c.DataDir == "" {
		mistakes.add("data_dir: must name a folder")
	}
	c.DataDir = c.path("data_dir", c.DataDir)
	c.Database = c.secretPath("database_url", c.Database, mistakes)
	c.checkDatabase(mistakes)
	checkRange("keep_months", c.KeepMonths, 1, 1200, mistakes)
	checkRange("queue_limit", c.QueueLimit, 1, 1_000_000, mistakes)
	checkRange("readers", c.Readers, 1, 50, mistakes)
	checkRange("requests", c.Requests, 1, 1000, mistakes)
	checkRange("previews", c.Previews, 1, 50, mistakes)
	if c.LongestPause < time.Minute || c.LongestPause > 6*time.Hour {
		mistakes.add("longest_pause: must be from 1m to 6h")
	}
	if c.StoreLimit < 64<<20 {
		mistakes.add("store_limit: must be at least 64MB")
	}
	checkOneOf("log_level", c.LogLevel, []string{"debug", "info", "warn", "error"}, mistakes)
	checkOneOf("log_format", c.LogFormat, []string{"text", "json"}, mistakes)
}

// checkDatabase checks an address that stands in the settings, without telling it, as it holds a password; one in a file is
// read when it is needed.
func (c *Config) checkDatabase(mistakes *Error) {
	if !c.Database.IsSet() || c.Database.file != "" {
		return
	}
	text, err := c.Database.Reveal()
	if err != nil {
		return // was told
	}
	parsed, err := url.Parse(text)
	if err != nil || parsed.Scheme != "postgres" && parsed.Scheme != "postgresql" || strings.Trim(parsed.Path, "/") == "" {
		mistakes.add("database_url: is no address of a PostgreSQL database; write it as postgres://user:password@host:5432/database, with %%40 and %%2F for @ and / in the password")
	}
}

func (o *OpenHIM) complete(c *Config, mistakes *Error) {
	if !o.IsSet() {
		if c.isGiven("openhim") {
			mistakes.add("openhim.api_url: is missing; to run without OpenHIM leave the whole section away")
		}
		return
	}
	o.URL = address("openhim.api_url", o.Address, mistakes)
	o.Password = c.secretPath("openhim.password", o.Password, mistakes)
	if o.Username == "" {
		mistakes.add("openhim.username: is missing")
	}
	checkUsername("openhim.username", o.Username, mistakes)
	if !o.Password.IsSet() {
		mistakes.add("openhim.password: is missing; give password or password_file")
	}
	o.completeTrust(c, mistakes)
	if o.URN == "" || strings.ContainsFunc(o.URN, isSpaceOrControl) {
		mistakes.add("openhim.urn: %q must be one word, as urn:mediator:cht-dhis2", o.URN)
	}
	if o.Host != "" && !isHost(o.Host) {
		mistakes.add("openhim.host: %q is no host; write its name or address alone, without https:// and without a port", o.Host)
	}
	checkRange("openhim.port", o.Port, 0, mostPort, mistakes)
	if o.Heartbeat < time.Second || o.Heartbeat > 55*time.Second {
		mistakes.add("openhim.heartbeat: must be from 1s to 55s, as OpenHIM takes a mediator for dead after 60s")
	}
	if strings.TrimSpace(o.Channel) == "" {
		mistakes.add("openhim.channel: must name a channel")
	}
	if o.BodyLimit < 256 || o.BodyLimit > 64<<10 {
		mistakes.add("openhim.body_limit: must be from 256B to 64KB")
	}
	o.findCaller(c, mistakes)
	o.completeClient(c, mistakes)
}

// completeTrust makes the fingerprint plain hex in lower case.
func (o *OpenHIM) completeTrust(c *Config, mistakes *Error) {
	o.CAFile = c.certificates("openhim.ca_file", o.CAFile, mistakes)
	if o.Fingerprint == "" {
		return
	}
	if o.TrustAny {
		mistakes.add("openhim: give fingerprint or trust_any, not both")
	}
	o.Fingerprint = strings.ToLower(strings.ReplaceAll(o.Fingerprint, ":", ""))
	if sum, err := hex.DecodeString(o.Fingerprint); err != nil || len(sum) != 32 {
		mistakes.add("openhim.fingerprint: must be the SHA-256 of a certificate, which has 64 digits of hex, with or without colons between")
	}
}

// findCaller finds the caller as which OpenHIM comes.
func (o *OpenHIM) findCaller(c *Config, mistakes *Error) {
	var names []string
	for _, caller := range c.Callers {
		names = append(names, caller.Name)
	}
	if o.Caller == "" && slices.Contains(names, "openhim") {
		o.Caller = "openhim"
	}
	if o.Caller == "" {
		return
	}
	at := slices.Index(names, o.Caller)
	switch {
	case at < 0:
		mistakes.add("openhim.caller: there is no caller %q; %s", o.Caller, nearest(o.Caller, names))
	case c.Callers[at].Workers:
		mistakes.add("openhim.caller: the caller %s has may_see_workers, and OpenHIM keeps every answer: give whoever may see workers a caller of their own", o.Caller)
	case c.Callers[at].Username == "":
		mistakes.add("openhim.caller: the caller %s has no username, and OpenHIM's route sends user name and password only", o.Caller)
	}
}

// completeClient finds which of the three settings of the router is missing beside the others.
func (o *OpenHIM) completeClient(c *Config, mistakes *Error) {
	o.ClientPassword = c.secretPath("openhim.client_password", o.ClientPassword, mistakes)
	checkUsername("openhim.client_id", o.ClientID, mistakes)
	if o.RouterAddress == "" && o.ClientID == "" && !o.ClientPassword.IsSet() {
		return
	}
	const together = "is missing; router_url, client_id and client_password go together"
	if o.RouterAddress == "" {
		mistakes.add("openhim.router_url: %s", together)
	} else {
		o.RouterURL = address("openhim.router_url", o.RouterAddress, mistakes)
	}
	if o.ClientID == "" {
		mistakes.add("openhim.client_id: %s", together)
	}
	if !o.ClientPassword.IsSet() {
		mistakes.add("openhim.client_password: %s", together)
	}
}

func (s *Caller) complete(c *Config, mistakes *Error) {
	where := "callers." + s.Name
	s.Password = c.secretPath(where+".password", s.Password, mistakes)
	s.Token = c.secretPath(where+".token", s.Token, mistakes)
	checkUsername(where+".username", s.Username, mistakes)
	checkBoth(where+".", s.Username, s.Password, mistakes)
	if s.Username == "" && !s.Password.IsSet() && !s.Token.IsSet() {
		mistakes.add("%s: there are no credentials; give username and password_file, or token_file", where)
	}
}

func (m *Metrics) complete(c *Config, mistakes *Error) {
	m.Password = c.secretPath("metrics.password", m.Password, mistakes)
	checkUsername("metrics.username", m.Username, mistakes)
	checkBoth("metrics.", m.Username, m.Password, mistakes)
	if m.Listen == "" {
		return
	}
	checkListen("metrics.listen", m.Listen, mistakes)
	if m.Listen == c.Listen && !strings.HasSuffix(m.Listen, ":0") {
		mistakes.add("metrics.listen: is the same as listen; leave it away to have /metrics there")
	}
}

func (n *Notices) complete(c *Config, mistakes *Error) {
	n.SMTPPassword = c.secretPath("notices.smtp_password", n.SMTPPassword, mistakes)
	n.SMTPCAFile = c.certificates("notices.smtp_ca_file", n.SMTPCAFile, mistakes)
	n.WebhookURL = c.secretPath("notices.webhook_url", n.WebhookURL, mistakes)
	n.checkWebhook(mistakes)
	checkPositive("notices.waiting_after", n.WaitingAfter, mistakes)
	checkOneOf("notices.smtp_tls", n.SMTPTLS, []string{"starttls", "tls", "none"}, mistakes)
	checkRange("notices.smtp_port", n.SMTPPort, 1, mostPort, mistakes)
	checkBoth("notices.smtp_", n.SMTPUsername, n.SMTPPassword, mistakes)
	if n.From != "" {
		checkMail("notices.from", n.From, mistakes)
	}
	for _, to := range n.To {
		checkMail("notices.to", to, mistakes)
	}
	n.checkServer(c, mistakes)
}

// checkServer finds a mail server without a sender or receivers, and what stands there for a mail server that is not.
func (n *Notices) checkServer(c *Config, mistakes *Error) {
	if n.SMTPHost == "" {
		for _, key := range []string{"smtp_port", "smtp_tls", "smtp_username", "smtp_password", "smtp_password_file", "smtp_ca_file", "from", "to"} {
			if _, given := c.origins["notices."+key]; given {
				mistakes.add("notices.smtp_host: is missing beside %s", key)
				return
			}
		}
		return
	}
	if !isHost(n.SMTPHost) {
		mistakes.add("notices.smtp_host: %q is no host; write its name or address alone, and the port as smtp_port", n.SMTPHost)
	}
	if n.From == "" {
		mistakes.add("notices.from: is missing; give the sender of the mails")
	}
	if len(n.To) == 0 {
		mistakes.add("notices.to: is missing; give at least one address that gets the mails")
	}
}

// checkWebhook checks an address that stands in the settings; one in a file is read when it is needed. The address may
// be a secret, so it is not told.
func (n *Notices) checkWebhook(mistakes *Error) {
	if !n.WebhookURL.IsSet() || n.WebhookURL.file != "" {
		return
	}
	text, err := n.WebhookURL.Reveal()
	if err != nil {
		return // was told
	}
	parsed, err := url.Parse(text)
	if err != nil || parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Hostname() == "" {
		mistakes.add("notices.webhook_url: must begin with https:// or http:// and a host")
	}
}

func checkMail(key, text string, mistakes *Error) {
	if _, err := mail.ParseAddress(text); err != nil {
		mistakes.add("%s: %q is no mail address; write it as name@example.org", key, text)
	}
}

const mostPort = 65535

// checkListen refuses what no server can listen on.
func checkListen(key, text string, mistakes *Error) {
	host, port, err := net.SplitHostPort(text)
	_, portErr := strconv.ParseUint(port, 10, 16)
	if err != nil || portErr != nil || host != "" && !isHost(host) {
		mistakes.add("%s: %q is no host:port; write it as :8070 or 127.0.0.1:8070", key, text)
	}
}

var hostForm = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?$`)

// isHost says whether a text is the name or the IP address of a host, and nothing beside it.
func isHost(text string) bool {
	_, err := netip.ParseAddr(text)
	return err == nil || hostForm.MatchString(text)
}

func isSpaceOrControl(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }
