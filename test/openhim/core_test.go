package openhim_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// core is a real OpenHIM with a database of its own, on ports of its own.
type core struct {
	// api and router are the addresses of its API and of its router, by HTTP.
	api, router string

	script, store string
	ports         []int
	client        *http.Client
	running       []*process
}

// The account that every OpenHIM has at first, and that this version makes whatever is wanted.
const (
	rootUser     = "root@openhim.org"
	rootPassword = "openhim-password"
)

// startCore starts an OpenHIM. Where the machine has not what it takes the test is skipped, and fails where CI is set.
func startCore(t *testing.T) *core {
	t.Helper()
	c := &core{
		script: filepath.Join(installCore(t), "node_modules", "openhim-core", "lib", "server.js"),
		store:  build(t, "store"),
		client: &http.Client{Transport: &http.Transport{
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // its certificate is its own
			DisableKeepAlives: true,
		}},
	}
	for range 3 { // a free port may be taken before the core takes it
		c.ports = freePorts(t, 6)
		c.api = fmt.Sprintf("https://127.0.0.1:%d", c.ports[0])
		c.router = fmt.Sprintf("http://127.0.0.1:%d", c.ports[1])
		if c.start(t) {
			return c
		}
		c.stop()
	}
	t.Fatal("OpenHIM found no free ports in three tries")
	return nil
}

// startEmpty starts the core, on the ports that it had, with an empty database.
func (c *core) startEmpty(t *testing.T) {
	t.Helper()
	if !c.start(t) {
		t.Fatal("a port of OpenHIM was taken while it was away")
	}
}

// start starts core and database and waits until the core can be logged in to. It gives false when a port is taken.
func (c *core) start(t *testing.T) bool {
	t.Helper()
	store := start(t, "store", ".", c.store, "-dir", shortFolder(t))
	c.running = []*process{store}
	const listening = "listening on "
	await(t, "a database for OpenHIM", time.Minute, func() bool { return ends(t, store) || strings.Contains(store.output(), listening) })
	_, address, _ := strings.Cut(strings.TrimSpace(store.output()), listening)

	config := filepath.Join(t.TempDir(), "core.json")
	if err := os.WriteFile(config, c.config(t, "mongodb://"+address+"/openhim"), 0o600); err != nil {
		t.Fatal(err)
	}
	him := start(t, "openhim", filepath.Dir(config), "node", c.script, "--conf="+config)
	c.running = append(c.running, him)
	taken := false
	await(t, "a login at OpenHIM", 2*time.Minute, func() bool {
		taken = strings.Contains(him.output(), "EADDRINUSE")
		return taken || ends(t, him) || c.salt(t.Context()) != ""
	})
	return !taken
}

// ends fails the test when a program has ended that should not.
func ends(t *testing.T, p *process) bool {
	t.Helper()
	if !p.running() {
		t.Fatalf("%s ended:\n%s", p.name, tail(p.output(), 30))
	}
	return false
}

// stop stops core and database, and the data is lost.
func (c *core) stop() {
	for i := len(c.running) - 1; i >= 0; i-- {
		c.running[i].stop()
	}
}

// config is the core's own configuration: everything on loopback, and nothing that calls the world.
func (c *core) config(t *testing.T, database string) []byte {
	t.Helper()
	type object = map[string]any
	text, err := json.Marshal(object{
		"bindAddress": "127.0.0.1",
		"mongo":       object{"url": database, "atnaUrl": database},
		"logger":      object{"level": "info", "logToDB": false},
		"api":         object{"httpsPort": c.ports[0]},
		"router":      object{"httpPort": c.ports[1], "httpsPort": c.ports[2]},
		"rerun":       object{"httpPort": c.ports[3], "host": "127.0.0.1", "processor": object{"pollPeriodMillis": 250}},
		"tcpAdapter":  object{"httpReceiver": object{"httpPort": c.ports[4], "host": "127.0.0.1"}},
		"polling":     object{"pollingPort": c.ports[5], "host": "127.0.0.1"},
		"alerts":      object{"enableAlerts": false},
		"reports":     object{"enableReports": false},
		"bodyCull":    object{"enabled": false},
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// freePorts gives ports of the loopback that are free now.
func freePorts(t *testing.T, count int) []int {
	t.Helper()
	var ports []int
	for range count {
		listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = listener.Close() }()
		_, port := hostPort(t, "//"+listener.Addr().String())
		ports = append(ports, port)
	}
	return ports
}

// shortFolder is a temporary folder whose path is short enough for a socket in it.
func shortFolder(t *testing.T) string {
	t.Helper()
	folder, err := os.MkdirTemp("", "him")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	return folder
}

// installCore gives the folder in which the core is installed, once for each content of its lock file. It is
// OPENHIM_TEST_DIR where that is set, else in the user's cache.
func installCore(t *testing.T) string {
	t.Helper()
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			unable(t, "a real OpenHIM needs "+program+", which is not installed")
		}
	}
	lock, err := os.ReadFile(filepath.Join("core", "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(lock)
	folder := filepath.Join(cacheFolder(t), "openhim-core-"+hex.EncodeToString(sum[:6]))
	if _, err := os.Stat(folder); err == nil {
		return folder
	}
	making, err := os.MkdirTemp(filepath.Dir(folder), "making-")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(making) }()
	if err := os.CopyFS(making, os.DirFS("core")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	install := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	install.Dir = making
	if output, err := install.CombinedOutput(); err != nil {
		unable(t, fmt.Sprintf("npm cannot install OpenHIM: %v\n%s", err, tail(string(output), 10)))
	}
	if err := os.Rename(making, folder); err != nil {
		if _, there := os.Stat(folder); there != nil { // another run was faster
			t.Fatal(err)
		}
	}
	return folder
}

func cacheFolder(t *testing.T) string {
	t.Helper()
	folder := os.Getenv("OPENHIM_TEST_DIR")
	if folder == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			t.Fatalf("set OPENHIM_TEST_DIR to a folder for OpenHIM: %v", err)
		}
		folder = filepath.Join(user, "cht-dhis2-mediator")
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	return folder
}

// unable skips the test with the reason; where CI is set it has to run, and fails.
func unable(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(reason)
	}
	t.Skip("SKIPPED, nothing was tried on a real OpenHIM: " + reason)
}
