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
	DataDir  string    `koanf:"data_dir" doc:"Folder for temporary files. Without it they go to the system's folder for them." example:"./data"`
	CHT      []CHT     `koanf:"cht" doc:"The CHT servers to read from."`
	DHIS2    []DHIS2   `koanf:"dhis2" doc:"The DHIS2 servers to send to."`
	DataSets []DataSet `koanf:"data_sets" doc:"What is read from where and sent to where."`

	origins map[string]string
	file    string
}

// CHT is a server to read from.
type CHT struct {
	Name          string        `koanf:"name" doc:"A short name: letters, digits, - and _. Required." example:"kisumu"`
	Address       string        `koanf:"url" doc:"Address, with its path if it has one. Required." example:"https://kisumu.example.org"`
	Username      string        `koanf:"username" doc:"An online user with the permission can_export_all. Required." example:"integration"`
	Password      Secret        `koanf:"password" doc:"Its password; better in a file, as password_file." example:"/run/secrets/kisumu"`
	TimeZone      string        `koanf:"time_zone" default:"UTC" doc:"Time zone in which a month ends there." example:"Africa/Nairobi"`
	CAFile        string        `koanf:"ca_file" doc:"PEM file of a certificate authority trusted beside the system's." example:"ca.pem"`
	HeaderTimeout time.Duration `koanf:"header_timeout" default:"10m" doc:"How long an answer may take to begin. The CHT computes the whole month before its first byte." example:"30m"`
	Timeout       time.Duration `koanf:"timeout" default:"2m" doc:"How long an answer that has begun may stand still." example:"5m"`
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
	InFlight int           `koanf:"in_flight" default:"1" doc:"How many imports may be under way at one time, at most 8. More than one brings a server of usual size nothing." example:"1"`

	URL *url.URL `koanf:"-"`
}

// DataSet is one data set and its rules.
type DataSet struct {
	ID           string   `koanf:"id" doc:"Its id, the same in DHIS2 and in the CHT's settings. Required." example:"DsMchMonth1"`
	Title        string   `koanf:"title" doc:"A name for people." example:"MCH monthly"`
	CHT          []string `koanf:"cht" doc:"Names of its sources. Required where there are several CHT." example:"[kisumu]"`
	DHIS2        string   `koanf:"dhis2" doc:"Name of its destination. Required where there are several DHIS2." example:"national"`
	Source       string   `koanf:"source" default:"export" doc:"How it is read: export, the CHT's own export for DHIS2." example:"export"`
	FirstPeriod  string   `koanf:"first_period" doc:"The first month that is ever sent. Required." example:"\"202601\""`
	Completeness string   `koanf:"completeness" doc:"Whether data sets are registered as complete: off. There is no other choice yet, and none is taken unsaid. Required." example:"off"`
	ChunkValues  int      `koanf:"chunk_values" default:"0" doc:"How many values go in one request: at most 12000 up to DHIS2 2.42, 4000 from 2.43 on. 0 is 5000 and 2000." example:"1000"`

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
	EmptyOrgUnits        string            `koanf:"empty_org_units" default:"drop" doc:"What to do with an org unit where every value is zero, as the CHT gives it where nobody reported: drop or send." example:"send"`
	Zeros                string            `koanf:"zeros" default:"send" doc:"What to do with a zero beside other values: send or drop." example:"drop"`
}

// Setting is one effective setting and where it came from.
type Setting struct {
	Key, Value, Origin string
}
