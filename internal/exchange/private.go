package exchange

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
)

type privateKey struct{}

// Private gives a context for calls whose content names people: of their queries and bodies nothing is kept, nor a digest, by which
// a name could be found by guessing; of their answers' headers only those that cannot repeat any of it.
func Private(ctx context.Context) context.Context {
	return context.WithValue(ctx, privateKey{}, true)
}

func isPrivate(ctx context.Context) bool {
	private, _ := ctx.Value(privateKey{}).(bool)
	return private
}

// privateQuery stands where a query was.
const privateQuery = "personal-data-not-kept"

// addressOf is what is kept of the address of a request.
func addressOf(request *http.Request) string {
	if request.URL == nil || request.URL.RawQuery == "" || !isPrivate(request.Context()) {
		return Address(request.URL)
	}
	return Address(&url.URL{Scheme: request.URL.Scheme, Host: request.URL.Host, Path: request.URL.Path, RawQuery: privateQuery})
}

// withoutContent is what is kept of a body that names people: how long it was.
func withoutContent(length int, whole bool) Body {
	if length == 0 {
		return Body{}
	}
	read := ""
	if !whole {
		read = " were read, and not the rest"
	}
	return Body{Text: fmt.Sprintf("[not kept, as it is personal: %d bytes%s]", length, read), Length: length}
}

// harmless are the headers of an answer that do not depend on what was asked for.
var harmless = []string{"Content-Encoding", "Content-Length", "Content-Type", "Date", "Retry-After", "Server"}

func harmlessHeader(header http.Header) http.Header {
	kept := maps.Clone(header)
	maps.DeleteFunc(kept, func(name string, _ []string) bool { return !slices.Contains(harmless, name) })
	return kept
}
