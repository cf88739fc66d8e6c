package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// readYAML reads one YAML document as maps, lists and texts. Every value stays as it is written, so that a password
// 007 is 007, a period 202601 needs no quotes and off is off: what a key takes is decided by the key. No error repeats
// a value, as that may be a secret.
func readYAML(content []byte) (map[string]any, error) {
	if !utf8.Valid(content) {
		return nil, errors.New("is no UTF-8 text; save it as UTF-8")
	}
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	var document yaml.Node
	err := decoder.Decode(&document)
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err != nil {
		return nil, syntaxError(content, err)
	}
	if err := decoder.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return nil, errors.New("holds more than one document; only one may be there, so take the line --- out")
	}
	r := yamlReader{open: map[*yaml.Node]bool{}}
	value, err := r.value(document.Content[0])
	if err != nil {
		return nil, err
	}
	tree, ok := value.(map[string]any)
	if !ok && value != nil {
		return nil, errors.New("must have keys and values at its top, such as data_sets: …")
	}
	return tree, nil
}

// bareAsterisk is an asterisk that refers to nothing, such as that of a cron text without quotes.
var bareAsterisk = regexp.MustCompile(`^[^#"']*[:-]\s+\*(\W|$)`)

// syntaxError says where the text is no YAML.
func syntaxError(content []byte, err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	lines := strings.Split(string(content), "\n")
	if _, after, ok := strings.Cut(text, "unknown anchor '"); ok { // it goes on with what stands after the asterisk
		anchor, _, _ := strings.Cut(after, "'")
		for i, line := range lines {
			if strings.Contains(line, "*"+anchor) {
				return fmt.Errorf("line %d: a text that begins with * must stand in quotes", i+1)
			}
		}
		return errors.New("a text that begins with * must stand in quotes")
	}
	for i, line := range lines {
		if bareAsterisk.MatchString(line) {
			return fmt.Errorf("line %d: a text that begins with * must stand in quotes", i+1)
		}
		if indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]; strings.Contains(indent, "\t") {
			return fmt.Errorf("line %d: begins with a tab; YAML takes spaces only", i+1)
		}
	}
	return fmt.Errorf("%s; mind the indentation, and put a text that holds a colon or begins with a sign in quotes", text)
}

// mostNodes is how many values a file may have; references to anchors can multiply few lines without end.
const mostNodes = 1_000_000

// yamlReader takes the nodes of a document apart.
type yamlReader struct {
	open map[*yaml.Node]bool // the anchors that are being read
	seen int
}

func (r *yamlReader) value(n *yaml.Node) (any, error) {
	r.seen++
	if r.seen > mostNodes {
		return nil, errors.New("holds too many values")
	}
	switch n.Kind {
	case yaml.AliasNode:
		if r.open[n.Alias] {
			return nil, fmt.Errorf("line %d: refers to itself", n.Line)
		}
		r.open[n.Alias] = true
		defer delete(r.open, n.Alias)
		return r.value(n.Alias)
	case yaml.MappingNode:
		return r.mapping(n)
	case yaml.SequenceNode:
		items := []any{}
		for _, inner := range n.Content {
			item, err := r.value(inner)
			if err != nil {
				return nil, err
			}
			items = append(items, item)
		}
		return items, nil
	default:
		if n.Style&yaml.TaggedStyle != 0 {
			return nil, fmt.Errorf("line %d: a text that begins with ! must stand in quotes", n.Line)
		}
		if n.ShortTag() == "!!null" {
			return nil, nil
		}
		return n.Value, nil
	}
}

func (r *yamlReader) mapping(n *yaml.Node) (map[string]any, error) {
	tree := map[string]any{}
	lines := map[string]int{}
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode {
			return nil, fmt.Errorf("line %d: a key must be one word", key.Line)
		}
		if key.ShortTag() == "!!merge" {
			merged = append(merged, n.Content[i+1])
			continue
		}
		if first, twice := lines[key.Value]; twice {
			return nil, fmt.Errorf("line %d: %s is there twice, first in line %d", key.Line, key.Value, first)
		}
		value, err := r.value(n.Content[i+1])
		if err != nil {
			return nil, err
		}
		tree[key.Value], lines[key.Value] = value, key.Line
	}
	for _, n := range merged {
		if err := r.merge(tree, n); err != nil {
			return nil, err
		}
	}
	return tree, nil
}

// merge adds what <<: names, where the key is not there yet.
func (r *yamlReader) merge(tree map[string]any, n *yaml.Node) error {
	value, err := r.value(n)
	if err != nil {
		return err
	}
	sources, ok := value.([]any)
	if !ok {
		sources = []any{value}
	}
	for _, source := range sources {
		source, ok := source.(map[string]any)
		if !ok {
			return fmt.Errorf("line %d: << takes a reference to keys and values", n.Line)
		}
		for key, value := range source {
			if _, known := tree[key]; !known {
				tree[key] = value
			}
		}
	}
	return nil
}
