package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Scripts run the commands of the README; this finds the commands of all pages that the program would not take.
func TestPagesShowCommandsThatThereAre(t *testing.T) {
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, page := range append(pages, "../README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			command, _, _ := strings.Cut(strings.TrimSpace(line), " # ")
			args := strings.Fields(command)
			if len(args) < 2 || args[0] != "mediator" && args[0] != "bin/mediator" || !strings.Contains(command, " --") {
				continue // no command, or a sentence that begins with the word
			}
			found++
			if err := understood(args[1:]); err != nil {
				t.Errorf("%s: %s: %v", page, command, err)
			}
		}
	}
	if found < 10 {
		t.Errorf("%d commands were found", found)
	}
}
