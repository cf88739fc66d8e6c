package main

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.yaml.in/yaml/v3"

	"github.com/cht-dhis2/mediator/internal/ledger"
	"github.com/cht-dhis2/mediator/orchestration"
)

// described keeps what is said of the metrics that are registered: their labels, by their names.
type described map[string][]string

var (
	aDescription = regexp.MustCompile(`fqName: "([a-z0-9_]+)".*constLabels: \{([^}]*)\}, variableLabels: \{([a-z0-9_,]*)\}`)
	aConstant    = regexp.MustCompile(`([a-z0-9_]+)="`)
)

func (d described) Register(c prometheus.Collector) error {
	list := make(chan *prometheus.Desc, 100)
	c.Describe(list)
	close(list)
	for one := range list {
		if found := aDescription.FindStringSubmatch(one.String()); found != nil {
			d[found[1]] = strings.FieldsFunc(found[3], func(r rune) bool { return r == ',' })
			for _, constant := range aConstant.FindAllStringSubmatch(found[2], -1) {
				d[found[1]] = append(d[found[1]], constant[1])
			}
		}
	}
	return nil
}

func (d described) MustRegister(all ...prometheus.Collector) {
	for _, c := range all {
		_ = d.Register(c)
	}
}

func (described) Unregister(prometheus.Collector) bool { return false }

func metrics(t *testing.T) described {
	t.Helper()
	d := described{}
	orchestration.NewMetrics(d)
	d.MustRegister(orchestration.NewStoreMetrics(&orchestration.Scheduler{}))
	if len(d) < 10 {
		t.Fatalf("%d metrics were found: %v", len(d), d)
	}
	return d
}

func readAlerts(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../docs/alerts.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

func TestEachMetricIsExplained(t *testing.T) {
	page := readAlerts(t)
	for name, labels := range metrics(t) {
		var quoted []string
		for _, label := range labels {
			quoted = append(quoted, "`"+label+"`")
		}
		row := "| `" + name + "` | " + strings.Join(quoted, ", ")
		if !strings.Contains(page, row) {
			t.Errorf("docs/alerts.md has no row that begins %s", row)
		}
	}
}

// rules are those of docs/alerts.md, as Prometheus reads them.
type rules struct {
	Groups []struct {
		Name  string `yaml:"name"`
		Rules []struct {
			Alert       string            `yaml:"alert"`
			Expr        string            `yaml:"expr"`
			For         string            `yaml:"for"`
			Labels      map[string]string `yaml:"labels"`
			Annotations map[string]string `yaml:"annotations"`
		} `yaml:"rules"`
	} `yaml:"groups"`
}

func readRules(t *testing.T) rules {
	t.Helper()
	page := readAlerts(t)
	from := strings.Index(page, "\ngroups:")
	if from < 0 {
		t.Fatal("there are no rules")
	}
	text, _, _ := strings.Cut(page[from:], "\n```")
	var r rules
	decoder := yaml.NewDecoder(strings.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&r); err != nil {
		t.Fatal(err)
	}
	return r
}

var (
	aMetric  = regexp.MustCompile(`\bmediator_[a-z_]+`)
	aMatcher = regexp.MustCompile(`(mediator_[a-z_]+)\{([^}]*)\}`)
	aLabel   = regexp.MustCompile(`([a-z0-9_]+)=~?"([^"]*)"`)
	aText    = regexp.MustCompile(`\$labels\.([a-z0-9_]+)`)
)

func TestAlertsNameMetricsThatThereAre(t *testing.T) {
	known := metrics(t)
	seen := map[string]bool{}
	for _, group := range readRules(t).Groups {
		for _, rule := range group.Rules {
			if seen[rule.Alert] || rule.Alert == "" {
				t.Errorf("alert %q stands twice, or has no name", rule.Alert)
			}
			seen[rule.Alert] = true
			if rule.Labels["severity"] == "" || rule.Annotations["summary"] == "" || rule.Annotations["action"] == "" {
				t.Errorf("%s does not say how grave it is, what it is, and what to do", rule.Alert)
			}
			has := map[string]bool{}
			for _, name := range aMetric.FindAllString(rule.Expr, -1) {
				labels, ok := known[strings.TrimSuffix(name, "_bucket")]
				if !ok {
					t.Errorf("%s: there is no metric %s", rule.Alert, name)
				}
				for _, label := range labels {
					has[label] = true
				}
			}
			checkMatchers(t, rule.Alert, rule.Expr, known)
			for _, label := range aText.FindAllStringSubmatch(rule.Annotations["summary"], -1) {
				if !has[label[1]] {
					t.Errorf("%s: its metrics have no label %s", rule.Alert, label[1])
				}
			}
		}
	}
	if len(seen) < 10 {
		t.Errorf("%d alerts were found", len(seen))
	}
}

// checkMatchers checks the labels of an expression and the values that they are compared with.
func checkMatchers(t *testing.T, alert, expr string, known described) {
	t.Helper()
	var fates []string
	for field := range reflect.TypeFor[ledger.Counts]().Fields() {
		fates = append(fates, strings.Split(field.Tag.Get("json"), ",")[0])
	}
	values := map[string][]string{
		"mediator_submissions_total.state":      {string(ledger.Failed), string(ledger.Refused), string(ledger.PartlyAccepted), string(ledger.Accepted)},
		"mediator_submissions_unfinished.state": {string(ledger.Queued), string(ledger.Preparing), string(ledger.Held), string(ledger.Ready), string(ledger.Sending)},
		"mediator_values_total.fate":            fates,
		"mediator_waits_total.reason":           {string(orchestration.CHTUnavailable), string(orchestration.DHIS2Unavailable), string(orchestration.Credentials)},
		"mediator_periods.state":                {"due", "overdue"},
		"mediator_in_use.of":                    {"store_bytes", "queue", "readers", "requests", "previews"},
		"mediator_outbox_letters.state":         {"waiting", "parked"},
	}
	for _, found := range aMatcher.FindAllStringSubmatch(expr, -1) {
		for _, label := range aLabel.FindAllStringSubmatch(found[2], -1) {
			if !slices.Contains(known[found[1]], label[1]) {
				t.Errorf("%s: %s has no label %s", alert, found[1], label[1])
			}
			for value := range strings.SplitSeq(label[2], "|") {
				if !slices.Contains(values[found[1]+"."+label[1]], value) {
					t.Errorf("%s: %s is never %q in %s", alert, label[1], value, found[1])
				}
			}
		}
	}
}
