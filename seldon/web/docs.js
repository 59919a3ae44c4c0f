// Swagger UI with this service's own document; requests go to this page's own address.
"use strict";
window.addEventListener("load", () => {
  document.getElementById("plain").hidden = true;
  SwaggerUIBundle({
    url: "openapi.json",
    dom_id: "#swagger",
    presets: [SwaggerUIBundle.presets.apis],
    deepLinking: true,
    tryItOutEnabled: true,
    validatorUrl: null,
  });
});
