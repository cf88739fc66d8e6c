package handlers

import (
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
)

// mostExaminations is how many may ask for an examination at one time, and wait for the same one.
const mostExaminations = 4

// examinationLimit is how long somebody may wait for an examination, and for one that is under way before it.
const examinationLimit = 11 * time.Minute

// examination tells what is in order and what is not: as JSON, or as a page for people where the header Accept asks for one.
func (d *door) examination(c *gin.Context) {
	if _, err := readQuery(c, ""); err != nil {
		_ = c.Error(err)
		return
	}
	select {
	case d.examinations <- struct{}{}:
		defer func() { <-d.examinations }()
	default:
		_ = c.Error(tooMany)
		return
	}
	giveTime(c, examinationLimit)
	made, err := d.Examine(c.Request.Context())
	if err != nil {
		_ = c.Error(err)
		return
	}
	if accept := c.GetHeader("Accept"); strings.Contains(accept, "text/html") && !strings.Contains(accept, "json") {
		c.Header("Content-Type", "text/html; charset=utf-8")
		c.Header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
		stream(c, made.WriteHTML)
		return
	}
	c.JSON(http.StatusOK, made)
}
