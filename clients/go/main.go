// The CloudEvents SDK for Go in each mode, and net/http.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
)

var url, token = os.Getenv("CLIENTS_URL"), "Bearer " + os.Getenv("CLIENTS_TOKEN")

type sent map[string]any

func payload() map[string]any {
	return map[string]any{"temp_c": 37.5, "status": "online", "note": "größer als 100 %"}
}

func event(device string) cloudevents.Event {
	event := cloudevents.NewEvent()
	event.SetID(device + "-1")
	event.SetSource("/clients")
	event.SetType("io.edge.device.reported.v1")
	event.SetSubject(device)
	event.SetExtension("note", "100%")
	if err := event.SetData(cloudevents.ApplicationJSON, payload()); err != nil {
		panic(err)
	}
	return event
}

func attempt(client, version, mode string, run func(device string) (sent, error)) {
	device := regexp.MustCompile("[^a-z0-9]+").ReplaceAllString(strings.ToLower(client+" "+mode), "-")
	line := map[string]any{"client": client, "version": version, "mode": mode}
	if found, err := run(device); err != nil {
		line["error"] = err.Error()
	} else if line["sent"] = found; found == nil {
		line["sent"] = sent{}
	}
	_ = json.NewEncoder(os.Stdout).Encode(line)
}

func do(request *http.Request, wanted int) error {
	request.Header.Set("Authorization", token)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != wanted {
		err = fmt.Errorf("%d instead of %d: %s", answer.StatusCode, wanted, body)
	}
	return err
}

func post(body io.Reader, wanted int) error {
	request, err := http.NewRequest("POST", url+"/events", body)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	return do(request, wanted)
}

func by(encoding func(context.Context) context.Context) func(string) (sent, error) {
	return func(device string) (sent, error) {
		client, err := cloudevents.NewClientHTTP(cloudevents.WithHeader("Authorization", token))
		if err != nil {
			return nil, err
		}
		context := encoding(cloudevents.ContextWithTarget(context.Background(), url+"/events"))
		if result := client.Send(context, event(device)); !cloudevents.IsACK(result) {
			return nil, result
		}
		return sent{device: payload()}, nil
	}
}

func batched(device string) (sent, error) {
	one, two := device+"-1", device+"-2"
	events := []cloudevents.Event{event(one), event(two)}
	request, err := cehttp.NewHTTPRequestFromEvents(context.Background(), url+"/events/batch", events)
	if err != nil {
		return nil, err
	}
	return sent{one: payload(), two: payload()}, do(request, 202)
}

func keepAlive(device string) (sent, error) {
	for number := range 20 {
		body, _ := json.Marshal(map[string]any{
			"device_id": device, "event_id": fmt.Sprint(number), "payload": payload(),
		})
		if err := post(bytes.NewReader(body), 202); err != nil {
			return nil, err
		}
	}
	return sent{device: payload()}, nil
}

func tooLarge(string) (sent, error) {
	return nil, post(strings.NewReader(`{"x":"`+strings.Repeat("x", 20_000_000)+`"}`), 413)
}

func main() {
	version := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			if module.Path == "github.com/cloudevents/sdk-go/v2" {
				version = module.Version[1:]
			}
		}
	}
	name := "CloudEvents SDK (Go)"
	attempt(name, version, "binary", by(cloudevents.WithEncodingBinary))
	attempt(name, version, "structured", by(cloudevents.WithEncodingStructured))
	attempt(name, version, "batched", batched)
	attempt("net/http (Go)", runtime.Version()[2:], "keep-alive, 20 POSTs", keepAlive)
	attempt("net/http (Go)", runtime.Version()[2:], "20 MB: reads the 413", tooLarge)
}
