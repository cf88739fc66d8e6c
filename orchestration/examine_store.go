package orchestration

import (
	"cmp"
	"context"
	"fmt"
)

const (
	// roomSoon and roomNow are how many bytes are to be free on the disk of the data folder.
	roomSoon = 1 << 30
	roomNow  = 100 << 20
	// storeSoon is from what percentage of its limit on a store is nearly full.
	storeSoon = 80
)

// examineStore opens the store and looks at it, and at the disk. The caller calls done.
func (r *examining) examineStore(ctx context.Context, p sheet) (done func()) {
	r.room(p)
	store, done, err := r.Open(ctx)
	if err == nil {
		err = store.Ping(ctx)
	} else {
		done = func() {}
	}
	what := "data folder"
	if store != nil && store.IsShared() {
		what = "database"
	}
	if err != nil {
		p.red(what, Fault, err)
		return done
	}
	r.store = store
	p.green(what, fmt.Sprintf("%s can be read and written, and is worked by %s", store.Place(), cmp.Or(store.Worker(ctx), "nobody")))
	size, err := store.Size(ctx)
	if _, limit := store.Limits(); err == nil && limit > 0 {
		text := fmt.Sprintf("the store has %d MB of %d MB", size>>20, limit>>20)
		if size > limit/100*storeSoon {
			p.amber("store size", text, "raise store_limit, or lower keep_months")
		} else {
			p.green("store size", text)
		}
	}
	return done
}

// room looks at the disk of the data folder, to which a month is written while it is read, wherever the store is.
func (r *examining) room(p sheet) {
	free, err := freeBytes(cmp.Or(r.Submitter.SpoolDir, "."))
	if err != nil {
		return // this system does not tell
	}
	text := fmt.Sprintf("%d MB are free on the disk of the data folder", free>>20)
	const remedy = "make room on the disk, or move data_dir"
	switch {
	case free < roomNow:
		p.red("room", Fault, faulty(remedy, "%s", text))
	case free < roomSoon:
		p.amber("room", text, remedy)
	default:
		p.green("room", text)
	}
}
