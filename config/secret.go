package config

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Secret is a password or a token, or the file that holds one. It prints as <secret> in every form.
type Secret struct {
	// A pointer, as what prints a struct by reflection asks no unexported field how it wants to be printed.
	value *string
	file  string
}

func secretText(text string) Secret {
	text = strings.TrimRight(text, endSpace)
	return Secret{value: &text}
}

// endSpace is what editors leave at the end of a secret.
const endSpace = " \t\r\n"

// IsSet says whether there is a secret, or a file for it.
func (s Secret) IsSet() bool { return s.value != nil && *s.value != "" || s.file != "" }

// Reveal gives the secret. One in a file is read anew each time, so that it may be changed without a restart. White
// space at its end is taken off.
func (s Secret) Reveal() (string, error) {
	if s.file == "" {
		if s.value == nil {
			return "", nil
		}
		return oneLine(*s.value)
	}
	content, err := os.ReadFile(s.file)
	if err != nil {
		return "", err
	}
	secret, err := oneLine(strings.TrimPrefix(string(content), byteOrderMark))
	if err == nil && secret == "" {
		err = errors.New("is empty")
	}
	if err != nil {
		return "", fmt.Errorf("%s %w", s.file, err)
	}
	return secret, nil
}

// byteOrderMark is what some editors write at the beginning of a file.
const byteOrderMark = "\ufeff"

// oneLine takes the white space at the end off a secret, and refuses what no header could carry.
func oneLine(text string) (string, error) {
	text = strings.TrimRight(text, endSpace)
	switch {
	case !utf8.ValidString(text) || strings.ContainsRune(text, 0):
		return "", errors.New("holds characters that are no UTF-8 text")
	case strings.ContainsAny(text, "\r\n"):
		return "", errors.New("holds more than one line")
	case strings.ContainsFunc(text, unicode.IsControl):
		return "", errors.New("holds a control character")
	default:
		return text, nil
	}
}

const hidden = "<secret>"

// String hides the secret.
func (s Secret) String() string {
	switch {
	case s.file != "":
		return hidden + " in " + s.file
	case s.IsSet():
		return hidden
	default:
		return ""
	}
}

// Format hides the secret, whatever the verb.
func (s Secret) Format(state fmt.State, _ rune) { fmt.Fprint(state, s.String()) }

// MarshalText hides the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
