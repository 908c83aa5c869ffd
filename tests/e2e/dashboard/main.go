// dashboard evaluates the queries of a Grafana dashboard with the query engine of Prometheus, over scrapes in files.
//
//	dashboard DASHBOARD.json SCRAPES JOB NAMESPACE INTERVAL
//
// SCRAPES has a folder per replica, named as its pod, with a file per scrape: UNIX-MILLISECONDS.txt, in the text format of OpenMetrics.
// INTERVAL is what `$__rate_interval` stands for. On standard output: the panels with their series, as JSON.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/tsdb"
)

// Steps of a graph.
const steps = 120

type dashboard struct {
	Panels []panel `json:"panels"`
}

type panel struct {
	Title       string          `json:"title"`
	Type        string          `json:"type"`
	GridPos     json.RawMessage `json:"gridPos"`
	FieldConfig json.RawMessage `json:"fieldConfig"`
	Targets     []target        `json:"targets"`
}

type target struct {
	Expr         string `json:"expr"`
	LegendFormat string `json:"legendFormat"`
}

// What is drawn.
type drawn struct {
	Title       string          `json:"title"`
	Type        string          `json:"type"`
	GridPos     json.RawMessage `json:"gridPos"`
	FieldConfig json.RawMessage `json:"fieldConfig"`
	Series      []series        `json:"series"`
}

type series struct {
	Name string `json:"name"`
	// Pairs of seconds since the first scrape, and the value.
	Points [][2]float64 `json:"points"`
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "dashboard:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 5 {
		return errors.New("usage: dashboard DASHBOARD.json SCRAPES JOB NAMESPACE INTERVAL")
	}
	file, scrapes, job, namespace, interval := args[0], args[1], args[2], args[3], args[4]
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var board dashboard
	if err := json.Unmarshal(text, &board); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	folder, err := os.MkdirTemp("", "dashboard-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	options := tsdb.DefaultOptions()
	options.RetentionDuration = math.MaxInt64
	db, err := tsdb.Open(folder, nil, nil, options, nil)
	if err != nil {
		return err
	}
	defer db.Close()
	first, last, err := load(db, scrapes, job, namespace)
	if err != nil {
		return err
	}
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 50_000_000, Timeout: time.Minute, LookbackDelta: 5 * time.Minute})
	variables := strings.NewReplacer("$__rate_interval", interval, "$job", job, "$namespace", namespace)
	var all []drawn
	for _, panel := range board.Panels {
		result := drawn{Title: panel.Title, Type: panel.Type, GridPos: panel.GridPos, FieldConfig: panel.FieldConfig, Series: []series{}}
		for _, target := range panel.Targets {
			found, err := query(engine, db, variables.Replace(target.Expr), target.LegendFormat, panel.Type == "stat", first, last)
			if err != nil {
				return fmt.Errorf("panel %q: %w", panel.Title, err)
			}
			result.Series = append(result.Series, found...)
		}
		all = append(all, result)
	}
	return json.NewEncoder(os.Stdout).Encode(all)
}

// Stores all scrapes in the order of their time, and returns the first and the last time.
func load(db *tsdb.DB, scrapes, job, namespace string) (first, last time.Time, err error) {
	type scrape struct {
		pod, file string
		at        int64
	}
	var all []scrape
	files, err := filepath.Glob(filepath.Join(scrapes, "*", "*.txt"))
	if err != nil {
		return first, last, err
	}
	for _, file := range files {
		at, err := strconv.ParseInt(strings.TrimSuffix(filepath.Base(file), ".txt"), 10, 64)
		if err != nil {
			return first, last, err
		}
		all = append(all, scrape{pod: filepath.Base(filepath.Dir(file)), file: file, at: at})
	}
	if len(all) == 0 {
		return first, last, fmt.Errorf("%s: no scrapes", scrapes)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].at < all[j].at })
	for _, one := range all {
		text, err := os.ReadFile(one.file)
		if err != nil {
			return first, last, err
		}
		extra := map[string]string{"job": job, "namespace": namespace, "pod": one.pod}
		if err := store(db, text, one.at, extra); err != nil {
			return first, last, fmt.Errorf("%s: %w", one.file, err)
		}
	}
	return time.UnixMilli(all[0].at), time.UnixMilli(all[len(all)-1].at), nil
}

func store(db *tsdb.DB, text []byte, at int64, extra map[string]string) error {
	parser := textparse.NewOpenMetricsParser(text, labels.NewSymbolTable())
	appender := db.Appender(context.Background())
	for {
		entry, err := parser.Next()
		if errors.Is(err, io.EOF) {
			return appender.Commit()
		}
		if err != nil {
			return err
		}
		if entry != textparse.EntrySeries {
			continue
		}
		_, _, value := parser.Series()
		var own labels.Labels
		parser.Labels(&own)
		builder := labels.NewBuilder(own)
		for name, value := range extra {
			// As Prometheus does with `honor_labels: false`.
			if had := own.Get(name); had != "" {
				builder.Set("exported_"+name, had)
			}
			builder.Set(name, value)
		}
		if _, err := appender.Append(0, builder.Labels(), at, value); err != nil {
			return err
		}
	}
}

func query(engine *promql.Engine, db *tsdb.DB, expr, legend string, instant bool, first, last time.Time) ([]series, error) {
	step := last.Sub(first) / steps
	start := first
	if instant {
		start, step = last, time.Second
	}
	ranged, err := engine.NewRangeQuery(context.Background(), db, nil, expr, start, last, step)
	if err != nil {
		return nil, err
	}
	defer ranged.Close()
	result := ranged.Exec(context.Background())
	if result.Err != nil {
		return nil, result.Err
	}
	matrix, err := result.Matrix()
	if err != nil {
		return nil, err
	}
	var found []series
	for _, one := range matrix {
		points := [][2]float64{}
		for _, point := range one.Floats {
			// JSON has neither NaN nor infinities; Grafana leaves a gap there, too.
			if !math.IsNaN(point.F) && !math.IsInf(point.F, 0) {
				points = append(points, [2]float64{float64(point.T-first.UnixMilli()) / 1000, point.F})
			}
		}
		if len(points) > 0 {
			found = append(found, series{Name: name(legend, one.Metric), Points: points})
		}
	}
	return found, nil
}

var placeholder = regexp.MustCompile(`{{\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*}}`)

func name(legend string, metric labels.Labels) string {
	return placeholder.ReplaceAllStringFunc(legend, func(text string) string {
		return metric.Get(placeholder.FindStringSubmatch(text)[1])
	})
}
