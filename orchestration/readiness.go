package orchestration

import "time"

// Readiness tells whether the service can do its work, and what is missing. It holds no address and no secret.
type Readiness struct {
	// Ready says that requests can be taken and stored. A server that is away does not make it false: that is waited for.
	Ready bool `json:"ready"`
	// Role says whether this process works the submissions: working or standing_by.
	Role   string  `json:"role"`
	Checks []Check `json:"checks"`
}

// Check is one thing that the service needs.
type Check struct {
	// Name is store, configuration, OpenHIM, or a server by its name in the configuration, such as "CHT kisumu".
	Name string `json:"name"`
	// State is ok, failed, or unknown, where it was not tried yet.
	State string `json:"state"`
	// Since is when it was found so last.
	Since *time.Time `json:"since,omitempty"`
	// Reason is a word of a closed set, such as dhis2_unavailable or full, and Remedy what a person can do.
	Reason string `json:"reason,omitempty"`
	Remedy string `json:"remedy,omitempty"`
}

// Schedule tells, for each data set and source, what ran, what is next and what is overdue.
type Schedule struct {
	Now      time.Time       `json:"now"`
	DataSets []ScheduledPart `json:"data_sets"`
}

// ScheduledPart is a data set of one source.
type ScheduledPart struct {
	DataSet string `json:"data_set"`
	Title   string `json:"title,omitempty"`
	CHT     string `json:"cht"`
	DHIS2   string `json:"dhis2"`
	// Enabled, Schedule, FirstAfterDays, RereadDays and Hold are in force; Differs names those that the console has set
	// otherwise than the file.
	Enabled        bool     `json:"enabled"`
	Schedule       string   `json:"schedule"`
	FirstAfterDays int      `json:"first_after_days"`
	RereadDays     int      `json:"reread_days"`
	Hold           bool     `json:"hold"`
	Differs        []string `json:"differs_from_file,omitempty"`
	// NextAt is when the next period is due.
	NextAt  *time.Time        `json:"next_at,omitempty"`
	Overdue int               `json:"overdue"`
	Periods []ScheduledPeriod `json:"periods"`
	// Problem says why there is no schedule where there should be one.
	Problem string `json:"problem,omitempty"`
}

// ScheduledPeriod is a period that is, or was, in the schedule.
type ScheduledPeriod struct {
	Period string `json:"period"`
	// State is planned, due, overdue or done.
	State      string     `json:"state"`
	DueAt      *time.Time `json:"due_at,omitempty"`
	StartedAt  *time.Time `json:"started_at,omitempty"`
	Submission string     `json:"submission,omitempty"`
	// Ended is the state of that submission.
	Ended string `json:"submission_state,omitempty"`
}
