package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"

	"github.com/cht-dhis2/mediator/config"
)

// composeFile is what these tests look at of docker-compose.yml. A key that is not here is a mistake in the test or the file.
type composeFile struct {
	Name     string                    `yaml:"name"`
	Services map[string]composeService `yaml:"services"`
	Volumes  map[string]any            `yaml:"volumes"`
	Networks map[string]struct {
		Name string `yaml:"name"`
	} `yaml:"networks"`
}

type composeService struct {
	Profiles    []string          `yaml:"profiles"`
	Build       string            `yaml:"build"`
	Image       string            `yaml:"image"`
	Command     []string          `yaml:"command"`
	Hostname    string            `yaml:"hostname"`
	Environment map[string]string `yaml:"environment"`
	Expose      []string          `yaml:"expose"`
	Ports       []string          `yaml:"ports"`
	Volumes     []string          `yaml:"volumes"`
	DependsOn   any               `yaml:"depends_on"`
	Healthcheck struct {
		Test        []string `yaml:"test"`
		Interval    string   `yaml:"interval"`
		Timeout     string   `yaml:"timeout"`
		StartPeriod string   `yaml:"start_period"`
		Retries     int      `yaml:"retries"`
	} `yaml:"healthcheck"`
	StopGracePeriod string   `yaml:"stop_grace_period"`
	Restart         string   `yaml:"restart"`
	ReadOnly        bool     `yaml:"read_only"`
	Tmpfs           []string `yaml:"tmpfs"`
	CapDrop         []string `yaml:"cap_drop"`
	SecurityOpt     []string `yaml:"security_opt"`
}

const (
	ourService = "cht-dhis2"
	standIns   = "stand-ins"
	core       = "openhim-core"
)

func readCompose(t *testing.T) composeFile {
	t.Helper()
	text, err := os.ReadFile("../docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	var c composeFile
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&c); err != nil {
		t.Fatal(err)
	}
	return c
}

// mounts gives what is mounted where in a service, with the values that variables have when nobody sets them.
func (s composeService) mounts() map[string]string {
	all := map[string]string{}
	for _, volume := range s.Volumes {
		parts := strings.Split(unset(volume), ":")
		all[parts[1]] = parts[0]
	}
	return all
}

var aVariable = regexp.MustCompile(`\$\{([A-Z_0-9]+):-([^}]*)\}`)

// unset gives a text of the file as it is where no variable is set.
func unset(text string) string { return aVariable.ReplaceAllString(text, "$2") }

func readDockerfile(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	last := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if word, rest, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			last[word] = rest
		}
	}
	last["text"] = string(text)
	return last
}

// understood says whether the program takes these arguments, without running them.
func understood(args []string) error {
	parser, err := kong.New(&commands{}, kong.Exit(func(int) {}))
	if err != nil {
		return err
	}
	_, err = parser.Parse(args)
	return err
}

func TestComposeRunsCommandsThatThereAre(t *testing.T) {
	c := readCompose(t)
	for _, name := range []string{ourService, standIns} {
		service := c.Services[name]
		if err := understood(service.Command); err != nil {
			t.Errorf("%s: %v: %v", name, service.Command, err)
		}
		test := service.Healthcheck.Test
		if len(test) < 3 || test[0] != "CMD" || test[1] != "/mediator" {
			t.Errorf("%s: %v runs something that is not in the image", name, test)
			continue
		}
		if err := understood(test[2:]); err != nil {
			t.Errorf("%s: %v: %v", name, test, err)
		}
	}
	image := readDockerfile(t)
	var command []string
	if err := yaml.Unmarshal([]byte(image["CMD"]), &command); err != nil || !slices.Equal(command, c.Services[ourService].Command) {
		t.Errorf("the image runs %v (%v), the compose file %v", command, err, c.Services[ourService].Command)
	}
}

func TestComposePutsEverythingWhereTheProgramLooks(t *testing.T) {
	c, image := readCompose(t), readDockerfile(t)
	ours, demo := c.Services[ourService], c.Services[standIns]
	env, ok := strings.CutPrefix(image["ENV"], "DATA_DIR=")
	if !ok {
		t.Fatalf("the image sets %q, not DATA_DIR", image["ENV"])
	}
	if source := ours.mounts()[env]; source == "" {
		t.Errorf("nothing is mounted at %s, where the store is", env)
	}
	at := filepath.Dir(ours.Command[slices.Index(ours.Command, "--config")+1])
	written := demo.Command[slices.Index(demo.Command, "--stand-ins")+1]
	if ours.mounts()[at] == "" || ours.mounts()[at] != demo.mounts()[written] {
		t.Errorf("the stand-ins write into %q, and the service reads from %q", demo.mounts()[written], ours.mounts()[at])
	}
	for _, service := range c.Services {
		for where, source := range service.mounts() {
			if _, known := c.Volumes[source]; !known {
				t.Errorf("the volume %s is not declared", source)
			}
			// A new volume takes its owner from the image; without the folder it would belong to root.
			if service.Build != "" && !strings.Contains(image["text"], "/image"+where+" ") {
				t.Errorf("the image has no folder %s", where)
			}
		}
	}

	folder := t.TempDir()
	args := slices.Clone(demo.Command[1:])
	args[slices.Index(args, "--stand-ins")+1] = folder
	args = slices.DeleteFunc(args, func(arg string) bool { return arg == "--stand-ins" || arg == folder })
	onStandIns(t, folder, args, func(file string, _ *config.Config) {
		settings, err := config.Load(config.Input{File: file, Environment: []string{image["ENV"]}})
		if err != nil {
			t.Error(err)
			return
		}
		if settings.DataDir != env {
			t.Errorf("the store is in %s, and the volume at %s", settings.DataDir, env)
		}
		if _, port, _ := net.SplitHostPort(settings.Listen); !slices.Equal(ours.Expose, []string{port}) || image["EXPOSE"] != port {
			t.Errorf("the service listens at %s; exposed are %v and %v", settings.Listen, ours.Expose, image["EXPOSE"])
		}
		checkOpenHIM(t, c, settings.OpenHIM)
		for _, u := range []*url.URL{settings.CHT[0].URL, settings.DHIS2[0].URL, settings.DHIS2[1].URL} {
			if u.Hostname() != standIns {
				t.Errorf("%s is not where the stand-ins are", u)
			}
		}
	})
}

func checkOpenHIM(t *testing.T, c composeFile, o config.OpenHIM) {
	t.Helper()
	if o.URL == nil || o.URL.Hostname() != core || o.URL.Scheme != "https" {
		t.Errorf("OpenHIM is at %v, not at %s", o.URL, core)
		return
	}
	console := c.Services["openhim-console"].Environment
	published := false
	for _, port := range c.Services[core].Ports {
		published = published || strings.HasSuffix(port, ":"+o.URL.Port())
	}
	if !published || console["OPENHIM_MEDIATOR_API_PORT"] != o.URL.Port() || console["OPENHIM_API_PORT"] != o.URL.Port() {
		t.Errorf("the API's port is %s; published is %v, and the console asks at %v", o.URL.Port(), c.Services[core].Ports, console)
	}
	if o.Host != "" || c.Services[ourService].Hostname != ourService {
		t.Errorf("OpenHIM is told to call %q, or else %q; the service is %s", o.Host, c.Services[ourService].Hostname, ourService)
	}
}

func TestComposeExposesThePortsOfTheStandIns(t *testing.T) {
	c := readCompose(t)
	var flags commands
	parser, err := kong.New(&flags)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse(c.Services[standIns].Command); err != nil {
		t.Fatal(err)
	}
	if flags.Demo.Host != standIns {
		t.Errorf("the stand-ins say that they are %q, and their service is %s", flags.Demo.Host, standIns)
	}
	var want []string
	for i := range 3 {
		_, port, err := net.SplitHostPort(flags.Demo.listenAt(i))
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, port)
	}
	if got := c.Services[standIns].Expose; !slices.Equal(got, want) {
		t.Errorf("exposed are %v, and they listen at %v", got, want)
	}
}

func TestComposeTakesImagesOfOneVersion(t *testing.T) {
	pinned := regexp.MustCompile(`^[a-z/-]+:v?\d+\.\d+\.\d+$`)
	for name, service := range readCompose(t).Services {
		if service.Build == "" && !pinned.MatchString(service.Image) {
			t.Errorf("%s: the image %q names no version, so it is another one tomorrow", name, service.Image)
		}
	}
}

func TestComposeOpensNoDoorToOtherMachines(t *testing.T) {
	for name, service := range readCompose(t).Services {
		for _, port := range service.Ports {
			if !strings.HasPrefix(unset(port), "127.0.0.1:") {
				t.Errorf("%s publishes %s to everybody", name, port)
			}
		}
		if service.Build == "" {
			continue
		}
		if len(service.Ports) > 0 {
			t.Errorf("%s publishes %v", name, service.Ports)
		}
		if !service.ReadOnly || !slices.Equal(service.CapDrop, []string{"ALL"}) || !slices.Contains(service.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s has more rights than it needs", name)
		}
	}
}

func TestComposeStartsStandInsInTheDemoOnly(t *testing.T) {
	c := readCompose(t)
	for name, service := range c.Services {
		want := []string(nil)
		if name == standIns {
			want = []string{"demo"}
		}
		if !slices.Equal(service.Profiles, want) {
			t.Errorf("%s is in the profiles %v, want %v", name, service.Profiles, want)
		}
	}
	if c.Name != "chis-interop" || unset(c.Networks["default"].Name) != "cht-net" {
		t.Errorf("project %q and network %q are not those of CHT's own set-up", c.Name, c.Networks["default"].Name)
	}
}

func TestComposeVariablesAreExplained(t *testing.T) {
	text, err := os.ReadFile("../docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	found := aVariable.FindAllStringSubmatch(string(text), -1)
	if len(found) == 0 {
		t.Fatal("no variable was found")
	}
	for _, variable := range found {
		if !strings.Contains(string(page), "`"+variable[1]+"`") {
			t.Errorf("docs/operations.md does not explain %s", variable[1])
		}
	}
}

// The client of Docker checks the file with its own eyes, where there is one. No engine is needed for that.
func TestComposeIsValidForDocker(t *testing.T) {
	if out, err := exec.CommandContext(t.Context(), "docker", "compose", "version").CombinedOutput(); err != nil {
		t.Skipf("docker compose is not at hand: %v: %s", err, out)
	}
	for _, args := range [][]string{nil, {"--profile", "demo"}} {
		if err := composeConfig(t.Context(), args); err != nil {
			t.Error(err)
		}
	}
}

func composeConfig(ctx context.Context, args []string) error {
	args = append(append([]string{"compose", "--file", "../docker-compose.yml"}, args...), "config", "--quiet")
	if out, err := exec.CommandContext(ctx, "docker", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("docker %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}
