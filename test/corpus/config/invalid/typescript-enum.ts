enum Colour { Red }
export default { sites: [Colour.Red] };
