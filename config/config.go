// Package config reads the settings: defaults, over them a file, over that the environment, over that flags.
//
// It is strict, as a misspelled key that is silently left out would send a nation's figures in another way than the
// person who wrote it believes: an unknown key is an error that names the nearest known one, and every mistake is told
// at once. Only the program itself reads this package; it hands every other package the few values it needs.
package config

import (
	"net/url"
	"time"
)

// Config is the effective settings. The tags are the keys of the file; doc, default and example make up the
// documentation of each.
type Config struct {
	Listen       string        `koanf:"listen" default:":8070" doc:"Where the service listens: host:port, without a host on every address of the machine. Port 0 is any free one." example:"127.0.0.1:8070"`
	Open         bool          `koanf:"open" default:"false" doc:"Answer callers without credentials. For trying out; warns at every start." example:"true"`
	DataDir      string        `koanf:"data_dir" default:"data" doc:"Folder of temporary files and, without database_url, of the store (SQLite). The default is beside the file of settings, or in the current folder where there is none." example:"/var/lib/mediator"`
	Database     Secret        `koanf:"database_url" doc:"Address of a PostgreSQL database, which keeps the store instead of a file: postgres://user:password@host:5432/database?sslmode=verify-full. Several mediators may share it. It holds a password, so better in a file, as database_url_file." example:"/run/secrets/database"`
	KeepMonths   int           `koanf:"keep_months" default:"13" doc:"How many months the evidence of a submission is kept, 1 to 1200; then its totals only." example:"25"`
	QueueLimit   int           `koanf:"queue_limit" default:"1000" doc:"How many submissions may wait, 1 to 1000000. One more is refused until some are done." example:"200"`
	Readers      int           `koanf:"readers" default:"3" doc:"How many months are read from CHT servers at one time, 1 to 50, each of another server. Each takes some megabytes of memory, and room for its month beside the store." example:"6"`
	Requests     int           `koanf:"requests" default:"64" doc:"How many HTTP requests are worked at one time, 1 to 1000. One more waits a moment and is refused." example:"16"`
	Previews     int           `koanf:"previews" default:"2" doc:"How many of these may read a month, for a preview or a file, 1 to 50. One more is refused." example:"1"`
	LongestPause time.Duration `koanf:"longest_pause" default:"15m" doc:"How long the pauses between two tries of a server that is away may grow, 1m to 6h. Work goes on within one such pause when it is back." example:"5m"`
	StoreLimit   Size          `koanf:"store_limit" default:"20GB" doc:"How large the store may grow, from 64MB. Where it is full nothing is sent until somebody makes room: a larger limit, or fewer keep_months." example:"100GB"`
	LogLevel     string        `koanf:"log_level" default:"info" doc:"The service logs what is at least so grave: debug, info, warn or error." example:"warn"`
	LogFormat    string        `koanf:"log_format" default:"text" doc:"How the service logs: text for people, json for machines." example:"json"`
	OpenHIM      OpenHIM       `koanf:"openhim" doc:"The OpenHIM that the mediator registers with and reports to. Without this section it runs without one."`
	CHT          []CHT         `koanf:"cht" doc:"The CHT servers to read from. Required."`
	DHIS2        []DHIS2       `koanf:"dhis2" doc:"The DHIS2 servers to send to. Required."`
	DataSets     []DataSet     `koanf:"data_sets" doc:"What is read from where and sent to where. Required."`
	Callers      []Caller      `koanf:"callers" doc:"Who may call the service over HTTP. Without one the door stays closed, unless open says otherwise."`
	Metrics      Metrics       `koanf:"metrics" doc:"Where and to whom /metrics is shown."`
	Notices      Notices       `koanf:"notices" doc:"To whom a notice goes when something needs a person. Without smtp_host and webhook_url none is sent."`

	origins  map[string]string
	file     string
	drafting bool
}

// OpenHIM is the OpenHIM that the mediator belongs to, if it belongs to one.
type OpenHIM struct {
	Address        string        `koanf:"api_url" doc:"Address of its API, https or http, with its path if it has one. Over http the password travels in the clear. Required." example:"https://openhim:8080"`
	Username       string        `koanf:"username" doc:"A user that may register mediators and write transactions. Required." example:"interop@openhim.org"`
	Password       Secret        `koanf:"password" doc:"Its password; better in a file, as password_file. Required." example:"/run/secrets/openhim"`
	CAFile         string        `koanf:"ca_file" doc:"PEM file of a certificate authority trusted beside the system's." example:"ca.pem"`
	Fingerprint    string        `koanf:"fingerprint" doc:"SHA-256 of the certificate, in hex with or without colons: this one is trusted and no other. The way to trust the certificate that OpenHIM comes with." example:"\"5F:1A:D2:0C:7B:43:9E:88:21:6D:F0:34:B9:C7:5E:12:A4:66:0B:93:DD:78:2F:E1:50:8C:37:4A:F9:16:CB:02\""`
	TrustAny       bool          `koanf:"trust_any" default:"false" doc:"Takes every certificate; for trying out, warns at every start. Not beside fingerprint." example:"false"`
	URN            string        `koanf:"urn" default:"urn:mediator:cht-dhis2" doc:"The mediator's name there. Two mediators at one OpenHIM need two." example:"urn:mediator:cht-dhis2-staging"`
	Host           string        `koanf:"host" doc:"The name under which OpenHIM reaches the mediator. Without it that is the machine's host name." example:"mediator"`
	Port           int           `koanf:"port" default:"0" doc:"The port at which OpenHIM reaches the mediator; 0 is that of listen." example:"8070"`
	Heartbeat      time.Duration `koanf:"heartbeat" default:"20s" doc:"How often the mediator tells that it lives, 1s to 55s." example:"30s"`
	Channel        string        `koanf:"channel" default:"CHT to DHIS2" doc:"Name of the channel under which the mediator's own reports appear." example:"CHT to DHIS2"`
	Caller         string        `koanf:"caller" doc:"Name of the entry of callers whose user name and password OpenHIM's route uses. Without it, the entry named openhim, where there is one." example:"openhim"`
	RouterAddress  string        `koanf:"router_url" doc:"Address of OpenHIM's router. With it, client_id and client_password the schedule triggers through OpenHIM's own channel; all three or none." example:"https://openhim:5000"`
	ClientID       string        `koanf:"client_id" doc:"The client of OpenHIM as which the mediator calls its router." example:"cht-dhis2"`
	ClientPassword Secret        `koanf:"client_password" doc:"The client's password; better in a file, as client_password_file." example:"/run/secrets/openhim_client"`
	BodyLimit      Size          `koanf:"body_limit" default:"8KB" doc:"How much of a request's or answer's body a report keeps, 256 bytes to 64KB." example:"16KB"`

	URL       *url.URL `koanf:"-"`
	RouterURL *url.URL `koanf:"-"`
}

// IsSet says whether there is an OpenHIM.
func (o OpenHIM) IsSet() bool { return o.Address != "" }

// Caller is somebody who may call the service.
type Caller struct {
	Name     string `koanf:"name" doc:"A short name: letters, digits, - and _. It stands in the records of who asked. Required." example:"openhim"`
	Username string `koanf:"username" doc:"User name for Basic authentication, all that OpenHIM's route can send. Two entries may have the same one, so that a password can be changed at leisure. Required without token." example:"openhim"`
	Password Secret `koanf:"password" doc:"Its password; better in a file, as password_file." example:"/run/secrets/openhim_route"`
	Token    Secret `koanf:"token" doc:"A bearer token; better in a file, as token_file. Instead of username and password, or beside them." example:"/run/secrets/dashboard"`
	Workers  bool   `koanf:"may_see_workers" default:"false" doc:"Whether this caller may ask who has not synced, which is answered with the names of workers. It is never answered through OpenHIM, which stores answers." example:"true"`
}

// Metrics is how /metrics is shown.
type Metrics struct {
	Listen   string `koanf:"listen" doc:"Where /metrics is shown: host:port. Without it that is the port of everything else." example:"127.0.0.1:9090"`
	Username string `koanf:"username" doc:"User name of a credential that opens /metrics only." example:"prometheus"`
	Password Secret `koanf:"password" doc:"Its password; better in a file, as password_file." example:"/run/secrets/metrics"`
}

// Notices is to whom and how a notice goes.
type Notices struct {
	SMTPHost     string        `koanf:"smtp_host" doc:"Mail server. Without it no mail is sent." example:"smtp.example.org"`
	SMTPPort     int           `koanf:"smtp_port" default:"587" doc:"Its port." example:"465"`
	SMTPTLS      string        `koanf:"smtp_tls" default:"starttls" doc:"How the way to it is encrypted: starttls, tls from the first byte (usual on port 465), or none." example:"tls"`
	SMTPUsername string        `koanf:"smtp_username" doc:"User name at the mail server, if it wants one." example:"mediator@example.org"`
	SMTPPassword Secret        `koanf:"smtp_password" doc:"Its password; better in a file, as smtp_password_file." example:"/run/secrets/smtp"`
	SMTPCAFile   string        `koanf:"smtp_ca_file" doc:"PEM file of a certificate authority trusted beside the system's." example:"ca.pem"`
	From         string        `koanf:"from" doc:"Sender of the mails. Required with smtp_host." example:"mediator@example.org"`
	To           []string      `koanf:"to" doc:"Who gets the mails. Required with smtp_host." example:"[his@example.org]"`
	WebhookURL   Secret        `koanf:"webhook_url" doc:"An address to which each notice is posted as JSON. Often a secret itself, so better in a file, as webhook_url_file." example:"/run/secrets/webhook"`
	WaitingAfter time.Duration `koanf:"waiting_after" default:"1h" doc:"A notice goes when a server has been waited for so long." example:"4h"`
	Name         string        `koanf:"name" doc:"What this installation calls itself in notices." example:"Mediator of Kisumu"`
}

// CHT is a server to read from.
type CHT struct {
	Name          string        `koanf:"name" doc:"A short name: letters, digits, - and _. Required." example:"kisumu"`
	Address       string        `koanf:"url" doc:"Address, with its path if it has one. Required." example:"https://kisumu.example.org"`
	Username      string        `koanf:"username" doc:"An online user, with the permission can_export_all where the export is the source. Required." example:"integration"`
	Password      Secret        `koanf:"password" doc:"Its password; better in a file, as password_file." example:"/run/secrets/kisumu"`
	TimeZone      string        `koanf:"time_zone" default:"UTC" doc:"Time zone in which a month ends there." example:"Africa/Nairobi"`
	CAFile        string        `koanf:"ca_file" doc:"PEM file of a certificate authority trusted beside the system's." example:"ca.pem"`
	HeaderTimeout time.Duration `koanf:"header_timeout" default:"10m" doc:"How long an answer may take to begin. The CHT computes the whole month before its first byte." example:"30m"`
	Timeout       time.Duration `koanf:"timeout" default:"2m" doc:"How long an answer that has begun may stand still." example:"5m"`
	HierarchyAge  time.Duration `koanf:"hierarchy_age" default:"1h" doc:"How old what is known of a worker's place in the hierarchy may be, 0s to 720h, where target documents are the source. Then it is asked whether the contact has changed." example:"24h"`
	FullReadDays  int           `koanf:"full_read_days" default:"7" doc:"After how many days all target documents of a month are read in full again, to prove what is remembered of them; between, only those that have changed are read. 1 to 365." example:"1"`
	MaxSize       Size          `koanf:"max_size" default:"512MB" doc:"How large an answer may be, unpacked." example:"1GB"`

	URL  *url.URL       `koanf:"-"`
	Zone *time.Location `koanf:"-"`
}

// DHIS2 is a server to send to.
type DHIS2 struct {
	Name     string        `koanf:"name" doc:"A short name: letters, digits, - and _. Required." example:"national"`
	Address  string        `koanf:"url" doc:"Address, with its path if it has one, without /api. Required." example:"https://dhis2.example.org/dhis"`
	Token    Secret        `koanf:"token" doc:"A personal access token; better in a file, as token_file. Either this or username and password." example:"/run/secrets/dhis2"`
	Username string        `koanf:"username" doc:"An account with the authority F_DATAVALUE_ADD." example:"cht_integration"`
	Password Secret        `koanf:"password" doc:"Its password; better in a file, as password_file." example:"/run/secrets/dhis2"`
	CAFile   string        `koanf:"ca_file" doc:"PEM file of a certificate authority trusted beside the system's." example:"ca.pem"`
	Timeout  time.Duration `koanf:"timeout" default:"1m" doc:"How long one request may take. One that takes longer is sent again in smaller parts." example:"5m"`
	Metadata time.Duration `koanf:"metadata_age" default:"1h" doc:"How old what was read of its data sets may be when a month is checked by it, 1m to 24h. What is found wrong by it is read again at once." example:"10m"`
	InFlight int           `koanf:"in_flight" default:"1" doc:"How many imports may be under way at one time, at most 8. More than one brings a server of usual size nothing." example:"1"`

	URL *url.URL `koanf:"-"`
}

// DataSet is one data set and its rules.
type DataSet struct {
	ID           string   `koanf:"id" doc:"Its id, the same in DHIS2 and in the CHT's settings; or what the CHT calls it instead, by data_set_id_scheme. Required." example:"DsMchMonth1"`
	Title        string   `koanf:"title" doc:"A name for people." example:"MCH monthly"`
	CHT          []string `koanf:"cht" doc:"Names of its sources. Required where there are several CHT." example:"[kisumu]"`
	DHIS2        string   `koanf:"dhis2" doc:"Name of its destination. Required where there are several DHIS2." example:"national"`
	Source       string   `koanf:"source" default:"export" doc:"How it is read: export, the CHT's own export for DHIS2; or targets, the target documents of the phones themselves, which carry what the export cannot: several combos of one data element, numerators and percentages, and what is left out by name." example:"targets"`
	FirstPeriod  string   `koanf:"first_period" doc:"The first period that is ever sent: a month, or a quarter as 2026Q1, or a year as 2026, in quotes. It says which of them the data set has in DHIS2: a quarter or a year is the sum of its months in the CHT, and goes when all are over. Required." example:"\"202601\""`
	Completeness string   `koanf:"completeness" doc:"Whether org units are registered in DHIS2 as complete: off, never; when_accepted, those of which DHIS2 holds all that the CHT has, with nothing left behind. None is taken unsaid. Required." example:"when_accepted"`
	UndoComplete bool     `koanf:"completeness_undo" default:"false" doc:"Whether a registration of the mediator's own is taken back when something is left behind in its org unit later." example:"true"`
	CompleteFrom int      `koanf:"completeness_coverage" default:"0" doc:"An org unit from which fewer than so many percent of the expected workers have synced is not registered as complete, 1 to 100; 0 is none. It needs coverage." example:"80"`
	Notify       string   `koanf:"completeness_notify" default:"latest" doc:"Whether DHIS2 notifies people that an org unit is complete: latest, of the month that closed last only; always; or never." example:"never"`
	ChunkValues  int      `koanf:"chunk_values" default:"0" doc:"How many values go in one request: at most 12000 up to DHIS2 2.42, 4000 from 2.43 on. 0 is 5000 and 2000." example:"1000"`

	Checks         string            `koanf:"checks" default:"on" doc:"Whether values are checked against DHIS2's metadata before they are sent, so that what DHIS2 would refuse stays behind with its reason: on; or off, which leaves all judging to DHIS2." example:"off"`
	Compare        string            `koanf:"compare" default:"server" doc:"What the CHT's values are compared with, so that only differences go: server, what DHIS2 holds and what it accepted before; or ledger, what it accepted only, without reading it." example:"ledger"`
	EditedInDHIS2  string            `koanf:"edited_in_dhis2" default:"keep" doc:"What to do with a value that somebody changed in DHIS2: keep it and list it, overwrite it, or hold the submission until a person approves." example:"hold"`
	VanishedCells  string            `koanf:"vanished_cells" default:"keep" doc:"What to do with a value that DHIS2 accepted and the CHT does not give any more, in an org unit that it still gives: keep; zero, but a percentage is deleted; or delete." example:"zero"`
	MostShrink     int               `koanf:"most_shrink" default:"50" doc:"A month whose sum falls by more than so many percent of what was accepted before is held until a person approves, 1 to 100; 0 is never." example:"20"`
	SharedOrgUnits string            `koanf:"shared_org_units" default:"refuse" doc:"What to do where two sources give the same org unit: refuse, or add their values up." example:"add"`
	KnownGapsFile  string            `koanf:"known_gaps_file" doc:"CSV file with the columns org_unit, data_element, reason and until: cells that are known to stay behind, by their ids in DHIS2, and the last day on which that is known. One of the two ids may be left out, which is all. Such cells count as left out by a rule." example:"gaps.csv"`
	MostQuarantine int               `koanf:"most_quarantined" default:"10" doc:"A month of which so many percent of the cells more stay behind than of the one before is held until a person approves, 1 to 100; 0 is never." example:"5"`
	MostVanished   int               `koanf:"most_vanished" default:"50" doc:"A month in which more than so many percent of the org units that had figures the month before have none, or only zeros, is held until a person approves, 1 to 100; 0 is never." example:"20"`
	NestedOrgUnits string            `koanf:"nested_org_units" default:"refuse" doc:"What to do with an org unit inside of which others of the data set are sent, as DHIS2 adds those up itself and would count them twice: refuse, its values stay behind; lowest, they are left out by rule; or allow, they are sent. Where target documents count at one place only, by attribution, it is for org units of one place." example:"lowest"`
	PercentTargets string            `koanf:"percent_targets" default:"send" doc:"What to do with a target of the type percent, of which the CHT's export gives the denominator only, and target documents without a targets_file too: send it, with a note; or refuse it, so that it stays behind." example:"refuse"`
	KnownFaults    []string          `koanf:"known_faults" doc:"Faults of its CHT's version that are known here and told no more: cht-9714, the figures of a month that is over may be set to 0; cht-daily, figures are written once a day at most." example:"[cht-9714]"`
	LiveFrom       map[string]string `koanf:"live_from" doc:"Lets districts join one after the other: org units in DHIS2, and the first period, written as first_period is, that is sent of what lies below each. What lies below none of them is not sent. Without it everything is, from first_period on." example:"{OuDistrict1: \"202608\"}"`

	Coverage            string   `koanf:"coverage" doc:"Whether it is read of how many of the expected workers a document of the month is there, by org unit: off or on. On, an export costs the ids of the month's target documents too. Without it on where target documents are the source, else off." example:"on"`
	ExpectedTypes       []string `koanf:"expected_contact_types" doc:"Contact types of the workers of whom a document is expected each month; those who are muted or have died are not. Without it they are those of whom one of the three months before is there." example:"[chw]"`
	MinCoverage         int      `koanf:"minimum_coverage" default:"0" doc:"An org unit from which fewer than so many percent of the expected workers have synced is held back, while the others go, until a later run finds them, 1 to 100; 0 is none. It needs coverage." example:"80"`
	MinimumDays         int      `koanf:"minimum_coverage_days" default:"0" doc:"How many days after the end of a period an org unit below minimum_coverage goes all the same, 1 to 3659, less than reread_days; 0 is never." example:"20"`
	TargetsFile         string   `koanf:"targets_file" doc:"CSV file with the columns target, value, data_element, category_option_combo and attribute_option_combo: which target adds to which cell, where target documents are the source. Value is total (what the export sends), pass or percent. Targets of one cell add up. Where there is a file, only its rows count; without it, what the CHT's settings say. mapping init drafts it." example:"targets.csv"`
	Attribution         string   `koanf:"attribution" default:"all" doc:"For which org units a target document counts: all, those of the worker and of every place above, as in the export; lowest, the nearest only; or level: and a contact type, the nearest of that type." example:"lowest"`
	Hierarchy           string   `koanf:"hierarchy" default:"today" doc:"Where a worker belongs who has moved since a month was first read: today, where the CHT has it now; or first, where it was then. The difference is told in either case." example:"first"`
	DuplicateWorkers    string   `koanf:"duplicate_workers" default:"latest" doc:"What counts where one worker has several target documents of a month, as after a change of phone: latest, sum, as in the export, or largest. Each case is told." example:"sum"`
	ExcludeContactTypes []string `koanf:"exclude_contact_types" doc:"Contact types whose target documents do not count, such as supervisors who see the work of others." example:"[chw_supervisor]"`
	Targets             []Target `koanf:"-"`

	Enabled         bool          `koanf:"enabled" default:"true" doc:"Whether the schedule submits it." example:"false"`
	Schedule        string        `koanf:"schedule" doc:"When it is looked for what is due, as the five fields of cron: minute, hour, day of the month, month, weekday, in the source's time zone; in quotes where it begins with an asterisk. Without it nothing goes by itself." example:"0 3 * * *"`
	FirstAfterDays  int           `koanf:"first_after_days" default:"5" doc:"How many days after the end of a month, or of the period where it has several, it may first go, 0 to 3660." example:"3"`
	RereadDays      int           `koanf:"reread_days" default:"30" doc:"How many days after the end of a month, or of the period, it is read again for late data, 0 to 3660; not less than first_after_days." example:"60"`
	Hold            bool          `koanf:"hold" default:"false" doc:"Whether each submission waits until a person approves it." example:"true"`
	SendingHours    string        `koanf:"sending_hours" doc:"The hours in which the schedule may send, in the source's time zone; without it, all." example:"20:00-06:00"`
	Jitter          time.Duration `koanf:"jitter" default:"0s" doc:"A scheduled start is put off by a random time up to this, 0s to 12h, so that many do not fall on one minute." example:"10m"`
	NoticeAfterDays int           `koanf:"notice_after_days" default:"15" doc:"Notice when nothing of a month was accepted so many days after its end, 0 to 3660; 0 is never." example:"10"`

	DataSetIDScheme             string `koanf:"data_set_id_scheme" default:"uid" doc:"By what the CHT calls the data set, and id here: uid, its id in DHIS2; code; or attribute: and the id of an attribute of DHIS2. A code must have letters, digits, - and _ only." example:"code"`
	DataElementIDScheme         string `koanf:"data_element_id_scheme" default:"uid" doc:"By what the CHT calls data elements: uid, code, or attribute: and an id. The new ids of the rules below go by it too." example:"code"`
	OrgUnitIDScheme             string `koanf:"org_unit_id_scheme" default:"uid" doc:"The same for org units." example:"attribute:AtMflCode01"`
	CategoryOptionComboIDScheme string `koanf:"category_option_combo_id_scheme" default:"uid" doc:"The same for category and attribute option combos." example:"code"`

	IncludeOrgUnits      []string          `koanf:"include_org_units" doc:"Take these org units only, by their ids in the CHT." example:"[OuAmaniHC01]"`
	ExcludeOrgUnits      []string          `koanf:"exclude_org_units" doc:"Leave these org units out, by their ids in the CHT." example:"[OuTraining1]"`
	IncludeDataElements  []string          `koanf:"include_data_elements" doc:"Take these data elements only, by their ids in the CHT." example:"[DeBirths001]"`
	ExcludeDataElements  []string          `koanf:"exclude_data_elements" doc:"Leave these data elements out, by their ids in the CHT." example:"[DeMalCases1]"`
	OrgUnitsFile         string            `koanf:"org_units_file" doc:"CSV file with the columns from and to: org units that have another id in DHIS2. Two with one new id add up." example:"org-units.csv"`
	RenameOrgUnits       map[string]string `koanf:"rename_org_units" doc:"The same, written here." example:"{OuOldAmani1: OuAmaniHC01}"`
	RenameDataElements   map[string]string `koanf:"rename_data_elements" doc:"Data elements that have another id in DHIS2." example:"{DeBirthsOld: DeBirths001}"`
	SumDataElements      []string          `koanf:"sum_data_elements" doc:"New ids to which several data elements may add up." example:"[DeNewbornV1]"`
	RenameCombos         map[string]string `koanf:"rename_combos" doc:"Category and attribute option combos that have another id in DHIS2." example:"{CocUnder5xx: CocUnder5y1}"`
	AttributeOptionCombo string            `koanf:"attribute_option_combo" doc:"Attribute option combo of every value that has none of its own." example:"AocCommunit"`
	EmptyOrgUnits        string            `koanf:"empty_org_units" doc:"What to do with an org unit where every value is zero, as the CHT gives it where nobody reported: drop; send; or reported, which sends those from which somebody has synced, and needs coverage. Without it reported where coverage is on, else drop." example:"send"`
	KnownGaps            []Gap             `koanf:"-"`
	Zeros                string            `koanf:"zeros" default:"send" doc:"What to do with a zero beside other values: send or drop." example:"drop"`
}

// Setting is one effective setting and where it came from.
type Setting struct {
	Key, Value, Origin string
}
