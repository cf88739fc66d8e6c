package cht

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// roundTripper is a server in memory. As a Caller it sends as package transport does, but makes one try only: which
// tries follow is tested on judge itself.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) Stream(request *http.Request, _ func(int, *http.Response, []byte, error) (time.Duration, bool)) (*http.Response, []byte, error) {
	response, err := f(request)
	if err != nil || response.StatusCode == http.StatusOK {
		return response, nil, err
	}
	return wholeAnswer(response)
}

func (f roundTripper) Do(request *http.Request, _ func(int, *http.Response, []byte, error) (time.Duration, bool)) (*http.Response, []byte, error) {
	response, err := f(request)
	if err != nil {
		return nil, nil, err
	}
	return wholeAnswer(response)
}

func wholeAnswer(response *http.Response) (*http.Response, []byte, error) {
	body, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	response.Body = http.NoBody
	return response, body, err
}

// clientOf is a client of a CHT in memory.
func clientOf(server roundTripper) *Client {
	return New(&url.URL{Scheme: "https", Host: "cht.example.org"}, server)
}

// always is a CHT that gives the same answer to every request.
func always(status int, contentType, body string) roundTripper {
	return func(*http.Request) (*http.Response, error) {
		return answer(status, contentType, body), nil
	}
}

func answer(status int, contentType, body string) *http.Response {
	return &http.Response{
		StatusCode: status,
		Header:     http.Header{"Content-Type": {contentType}},
		Body:       io.NopCloser(strings.NewReader(body)),
	}
}

// packed is an answer whose body is unpacked as it is read.
func packed(body io.Reader) (*http.Response, error) {
	reader, err := gzip.NewReader(body)
	if err != nil {
		return nil, err
	}
	response := answer(http.StatusOK, jsonType, "")
	response.Body = reader
	return response, nil
}

// recorded gives the body of an answer that a CHT 5.2.0 gave.
func recorded(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var recording struct {
		Response struct{ Body json.RawMessage }
	}
	if err := json.Unmarshal(text, &recording); err != nil {
		t.Fatal(err)
	}
	return string(recording.Response.Body)
}

// asError gives the *Error in err, or ends the test.
func asError(t testing.TB, err error) *Error {
	t.Helper()
	var known *Error
	if !errors.As(err, &known) {
		t.Fatalf("got the error %v, want an *Error", err)
	}
	return known
}

const jsonType = "application/json; charset=utf-8"
