package exchange

import "context"

type Recorder struct{}

func NewRecorder(int) *Recorder { return &Recorder{} }
func (r *Recorder) Record(ctx context.Context) context.Context { return ctx }
func (r *Recorder) Exchanges() []Exchange { return nil }
