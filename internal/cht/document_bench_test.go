package cht

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

// pageOf is an answer with a page of documents of 100 targets, 6.4 kB each.
func pageOf(rows int) []byte {
	var page bytes.Buffer
	page.WriteString(`{"total_rows":100000,"offset":0,"rows":[` + "\n")
	for i := range rows {
		id := fmt.Sprintf("target~2026-07~%08d-1111-2222-3333-444455556666~org.couchdb.user:chw%d", i, i)
		if i > 0 {
			page.WriteString(",\n")
		}
		fmt.Fprintf(&page, `{"id":%q,"key":%q,"value":{"rev":"1-66f1dcf935ea171fc90e6c159586df46"},"doc":{"_id":%q,"_rev":"1-66f1dcf935ea171fc90e6c159586df46","type":"target","user":"org.couchdb.user:chw%d","owner":"%08d-1111-2222-3333-444455556666","reporting_period":"2026-07","targets":[`, id, id, id, i, i)
		for n := range 100 {
			if n > 0 {
				page.WriteByte(',')
			}
			fmt.Fprintf(&page, `{"id":"target-number-%03d","value":{"pass":%d,"total":%d}}`, n, (i+n)%30, (i+n)%40)
		}
		page.WriteString(`],"updated_date":1785456000000}}`)
	}
	page.WriteString("\n]}\n")
	return page.Bytes()
}

// BenchmarkTargetDocuments reads one page; BenchmarkSkipValue only looks whether the same page is valid. The first may take twice as long.
func BenchmarkTargetDocuments(b *testing.B) {
	page := pageOf(pageRows - 1)
	client := clientOf(func(*http.Request) (*http.Response, error) {
		response := answer(http.StatusOK, jsonType, "")
		response.Body = io.NopCloser(bytes.NewReader(page))
		return response, nil
	})
	b.SetBytes(int64(len(page)))
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		err := client.TargetDocuments(b.Context(), july, func(d *TargetDocument) error {
			if len(d.Targets) != 100 || d.Malformed != "" {
				return errors.New(d.Malformed)
			}
			n++
			return nil
		})
		if err != nil || n != pageRows-1 {
			b.Fatal(n, err)
		}
	}
}

func BenchmarkSkipValue(b *testing.B) {
	page := pageOf(pageRows - 1)
	b.SetBytes(int64(len(page)))
	for b.Loop() {
		d := jsontext.NewDecoder(bytes.NewReader(page), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
		if err := d.SkipValue(); err != nil {
			b.Fatal(err)
		}
	}
}
