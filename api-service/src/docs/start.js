// The token that is pasted stays in this page: it is kept nowhere, and sent to this origin only.
const page = SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#page",
  deepLinking: true,
  displayRequestDuration: true,
  validatorUrl: null,
  // The simplest kind of body first, not the one whose name comes first.
  onComplete() {
    for (const path of ["/events", "/events/batch"]) {
      page.oas3Actions.setRequestContentType({ value: "application/json", pathMethod: [path, "post"] });
    }
  },
});
