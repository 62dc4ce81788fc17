SwaggerUIBundle({
  dom_id: "#page",
  url: "openapi.json",
  deepLinking: true,
  validatorUrl: null, // else swagger.io would be asked about the contract
});
