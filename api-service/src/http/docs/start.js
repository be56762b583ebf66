// The token that is pasted stays in this page: it is kept nowhere, and sent to this origin only.
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#page",
  deepLinking: true,
  displayRequestDuration: true,
  validatorUrl: null,
});
