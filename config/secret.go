package config

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// Secret is a password or a token, or the file that holds one. It prints as <secret> in every form.
type Secret struct {
	value, file string
}

// IsSet says whether there is a secret, or a file for it.
func (s Secret) IsSet() bool { return s.value != "" || s.file != "" }

// Reveal gives the secret. One in a file is read anew each time, so that it may be changed without a restart; white
// space at its end, as editors leave, is taken off.
func (s Secret) Reveal() (string, error) {
	if s.file == "" {
		return s.value, nil
	}
	content, err := os.ReadFile(s.file)
	if err != nil {
		return "", err
	}
	secret := strings.TrimRight(string(content), " \t\r\n")
	if secret == "" {
		return "", fmt.Errorf("%s is empty", s.file)
	}
	if strings.ContainsAny(secret, "\r\n\x00") {
		return "", errors.New(s.file + " holds more than one line")
	}
	return secret, nil
}

const hidden = "<secret>"

// String hides the secret.
func (s Secret) String() string {
	switch {
	case s.file != "":
		return hidden + " in " + s.file
	case s.value != "":
		return hidden
	default:
		return ""
	}
}

// GoString hides the secret.
func (s Secret) GoString() string { return s.String() }

// MarshalText hides the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
