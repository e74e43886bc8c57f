// Calls that are tried go to this server, whatever a proxy has put before its paths.
const root = new URL(".", location.href).pathname.replace(/\/$/, "");

fetch("openapi.json").then((answer) => answer.json()).then((spec) => {
  SwaggerUIBundle({
    spec: { ...spec, servers: [{ url: root || "/" }] }, dom_id: "#api", deepLinking: true,
  });
});
