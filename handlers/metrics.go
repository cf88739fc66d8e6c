package handlers

import (
	"net/http"

	"github.com/gin-gonic/gin"
)

// MetricsOnly makes the handler of a listener that is for the metrics alone. It asks for the credential of MetricsCaller
// where there is one; without one, whoever reaches the listener may read them.
func MetricsOnly(c Config, metrics http.Handler) (http.Handler, error) {
	d, err := newDoor(c)
	if err != nil {
		return nil, err
	}
	letIn := d.letIn(nil, true)
	if c.MetricsCaller != nil {
		letIn = d.letIn([]Caller{*c.MetricsCaller}, false)
	}
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.Use(d.noteAccess, setHeaders, d.answerErrors, d.recoverPanic)
	engine.NoRoute(func(c *gin.Context) { _ = c.Error(noRoute) })
	engine.GET("/metrics", letIn, gin.WrapH(metrics))
	return engine, nil
}
